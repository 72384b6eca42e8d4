"""Speech Commands: spoken words of one second, from 35 words.

    import experiments.speech_commands
    splits = jaxseq.data.load("speech_commands", path="speech_commands_v0.02")

Importing the folder makes its data set "speech_commands" known. Its comparison
is that of `experiments.classify`, with the config
`configs/classify/speech_commands.py`.
"""

from jaxseq.data import registry

registry.register("speech_commands", "experiments.speech_commands.data:load")
