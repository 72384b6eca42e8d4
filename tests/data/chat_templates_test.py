"""Templates of chats: what they may take, and that others are as they were."""

import time

import pytest

from jaxseq.data import _chat_templates
from tests import limited

sandbox = pytest.importorskip(
  "jinja2.sandbox", reason="the extra chats is needed"
)

_MESSAGES = [
  {"role": "system", "content": "Be brief.\n"},
  {"role": "user", "content": " What is 1 + 1? "},
  {"role": "assistant", "content": "<think>\nOne more\n</think>\n\nTwo.\n"},
  {"role": "user", "content": 'Say "<é>"', "name": "anna"},
  {"role": "assistant", "content": "<é>"},
]
# What the templates of published models do, in few lines each.
_ORDINARY = {
  "plain": "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content']"
  " + eos_token + '\n' }}{% endfor %}{% if add_generation_prompt %}"
  "{{ '<|assistant|>\n' }}{% endif %}",
  "alternating": """
    {%- if messages[0]['role'] == 'system' %}
      {%- set loop_messages = messages[1:] %}
      {%- set first = messages[0]['content'] | trim %}
    {%- else %}{% set loop_messages, first = messages, false %}{% endif %}
    {%- for m in loop_messages %}
      {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate') }}
      {%- endif %}
      {%- if loop.first and first is not false %}
        {%- set content = '<<S>>\\n' ~ first ~ '\\n<</S>>' ~ m['content'] %}
      {%- else %}{% set content = m['content'] %}{% endif %}
      {{- '[' + content.strip() + ']' if m.role == 'user' else content }}
    {%- endfor %}""",
  "thinking": """
    {%- set ns = namespace(multi_step=true, last=messages|length - 1) %}
    {%- for m in messages[::-1] %}
      {%- set index = (messages|length - 1) - loop.index0 %}
      {%- if ns.multi_step and m.role == "user" and m.content is string and
        not(m.content.startswith('<a>') and m.content.endswith('</a>')) %}
        {%- set ns.multi_step = false %}{% set ns.last = index %}
      {%- endif %}
    {%- endfor %}
    {%- for m in messages %}
      {%- set content, thought = m.content, '' %}
      {%- if '</think>' in content %}
        {%- set thought = content.split('</think>')[0].rstrip('\\n')
          .split('<think>')[-1].lstrip('\\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
      {%- endif %}
      {{- m.role + ':' + content + ('(' ~ thought ~ ')' if loop.index0 >
        ns.last and thought else '') }}
      {%- if loop.last or (not loop.last and loop.nextitem.role == 'user') %}
        {{- ';' }}
      {%- endif %}
    {%- endfor %}""",
  "macros": """
    {%- macro shown(value, depth=0) -%}
      {%- if value is mapping -%}
        {%- for k, v in value|dictsort %}{{ k }}={{ shown(v, depth + 1) }}
        {%- if not loop.last %}, {% endif %}{% endfor -%}
      {%- else -%}{{ value|tojson }}{%- endif -%}
    {%- endmacro -%}
    {{- bos_token }}{{ messages|selectattr('role', 'equalto', 'user')|list|count
      }}{{ messages|map(attribute='role')|unique|join(', ') }}
    {%- for m in messages if m.role not in ['system', 'tool'] %}
      {{- shown(m) }}{{ '%s-%02d' % (m.role|upper, loop.index) }}
      {{- '{}:{:>6}'.format(m.role, m.content|length) }}
      {{- m.get('name', 'nobody')|capitalize|indent(2) }}
      {{- {'a': m.role, 'b': [m.content|replace('<', '-')]}|tojson(indent=2) }}
    {%- endfor %}""",
}


def _plainly(template, messages, **special):
  """The text by the sandbox of jinja2 alone."""
  environment = sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
  )
  json = _chat_templates._sandbox()._as_json
  environment.filters["tojson"] = json
  made = environment.from_string(template)
  return lambda: made.render(messages=messages, tools=None, **special)


def _render(template, messages=_MESSAGES, prompts=False, **special):
  return _chat_templates.render(template, messages, special, prompts, "chat")[0]


@pytest.mark.parametrize("name", _ORDINARY)
@pytest.mark.parametrize("prompts", [False, True])
def test_texts_of_ordinary_templates_are_those_of_jinja2(name, prompts):
  special = {"bos_token": "<s>", "eos_token": "</s>"}
  template = _ORDINARY[name]
  plainly = _plainly(
    template, _MESSAGES, add_generation_prompt=prompts, **special
  )
  text = _render(template, prompts=prompts, **special)
  assert text == plainly()
  assert len(text) > 80


def test_long_chats_are_written_too():
  long = [
    {"role": ("user", "assistant")[i % 2], "content": f"{i} " * 2000}
    for i in range(200)
  ]
  many = [
    {"role": ("user", "assistant")[i % 2], "content": "a"} for i in range(4000)
  ]
  special = {"bos_token": "<s>", "eos_token": "</s>"}
  for messages in (long, many):
    for template in _ORDINARY.values():
      plainly = _plainly(
        template, messages, add_generation_prompt=False, **special
      )
      assert _render(template, messages, **special) == plainly()


def test_ordinary_templates_take_little_longer():
  special = {"bos_token": "<s>", "eos_token": "</s>"}

  def seconds(run):
    times = []
    for _ in range(9):
      start = time.process_time()
      for _ in range(20):
        run()
      times.append(time.process_time() - start)
    return min(times)

  for template in _ORDINARY.values():
    plainly = _plainly(
      template, _MESSAGES, add_generation_prompt=False, **special
    )
    took = seconds(lambda template=template: _render(template, **special))
    # A hash of the messages is a part of it.
    assert took < 4 * seconds(plainly) + 0.01


_LETTERS, _NUMBERS = "'a'*1000000", "range(99999)|list"
# What grows with each of 60 steps, and what is done 99,999 times.
_GROWING = [
  ("'aa'", "n.s + n.s"),
  ("'aa'", "n.s ~ n.s"),
  ("[1]", "n.s + n.s"),
  ("[1]", "[n.s, n.s]"),
  ("{}", "{'a': n.s, 'b': n.s}"),
  ("(1, 2)", "(n.s, n.s)"),
]
_REPEATED = [
  (_LETTERS, "{{ s }}"),
  (_LETTERS, "{{ 'b' in s }}"),
  (_LETTERS, "{{ s.upper() == s.lower() }}"),
  (_LETTERS, "{% set t %}{{ s }}{% endset %}"),
  (_NUMBERS, "{% set t = s[1:] %}"),
  (_NUMBERS, "{% set t = s|sort %}"),
  (_NUMBERS, "{% for t in s %}{% endfor %}"),
  (_NUMBERS, "{% for t in s if false %}{% endfor %}"),
]
# Templates that would take hours, or all of the memory.
_ENDLESS = [
  *(
    "{% set n = namespace(s=" + first + ") %}{% for i in range(60) %}"
    "{% set n.s = " + step + " %}{% endfor %}{{ n.s }}"
    for first, step in _GROWING
  ),
  *(
    "{% set s = "
    + value
    + " %}{% for i in range(99999) %}"
    + step
    + "{% endfor %}"
    for value, step in _REPEATED
  ),
  "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}"
  "{% endmacro %}{{ f(60) }}",
  "{% set a = [1]*1000 %}{% set b = [a]*1000 %}{{ [b]*1000 == [b[:]]*1000 }}",
  *r"""
{{ (9**99999)**999 }}
{{ 'a'*10**10 }}
{{ messages|slice(10**9)|list }}
{{ messages|batch(10**9, 'x')|list }}
{{ 'a'|center(1000000000) }}
{{ 'a'.ljust(1000000000) }}
{{ ('\t'*1000000).expandtabs(1000000) }}
{{ ('a'*1000000).replace('a', 'b'*1000000) }}
{{ ('a'*1000000)|replace('a', 'b'*1000000) }}
{{ ('a'*1000000).join(range(99999)|map('string')) }}
{{ range(99999)|join('a'*1000000) }}
{{ '%1000000000d' % 1 }}
{{ '%*d' % (1000000000, 1) }}
{{ '%1000000000d'|format(1) }}
{{ '{:1000000000}'.format(1) }}
{{ '{:{}}'.format(1, 1000000000) }}
{{ ('{0}'*100000).format('a'*100000) }}
{{ messages|tojson(indent=1000000000) }}
{{ messages|tojson(separators=('a'*1000000000, ':')) }}
{{ 1.5|round(99999999, 'ceil') }}
{{ (1).to_bytes(1000000000) }}
{{ ('\n'*100000)|indent(100000) }}
{{ ('<!--'*1000000)|striptags }}
{{ ('a'*1000000).encode('punycode') }}
{{ ('a'*1000000).encode() * 1000000 }}
{{ ('a'*1000000).rfind('a'*400000 ~ 'b' ~ 'a'*400000) }}
{{ ('a '*4000000).split() }}
{{ strftime_now('%p'*1000000) }}
""".strip().split("\n"),
]


def test_templates_without_an_end_are_refused_in_moments():
  # One after the other in a child, as a defect would take all there is.
  code = f"""
    import re, time
    from jaxseq.data import _chat_templates
    for template in {_ENDLESS!r}:
      start = time.process_time()
      try:
        _chat_templates.compiled(template, "chat")
        _chat_templates.render(template, {_MESSAGES!r}, {{}}, False, "chat")
        print(template, "has an end")
      except ValueError as error:
        if "it takes more than 10" not in str(error):
          print(template, error)
      if time.process_time() - start > 4:
        print(template, time.process_time() - start)
    # `getrusage` would count the memory of the process that began this one.
    status = open("/proc/self/status").read()
    print(int(re.search(r"VmHWM:\\s*([0-9]+)", status)[1]) // 1024)
    """
  *wrong, megabytes = limited.run(code, seconds=60).splitlines()
  assert not wrong
  assert int(megabytes) < 1000


def test_templates_are_read_within_bounds():
  with pytest.raises(ValueError, match="the chat template: got '300000 charac"):
    _render("a" * 300_000)
  for template in ("{{ " + "(" * 3000 + "}}", "{% if 1 %}" * 3000):
    with pytest.raises(ValueError, match="the chat template is none: maximum"):
      _render(template)
  with pytest.raises(ValueError, match="fails with it: maximum recursion"):
    _render("{% set n = namespace() %}{% set n.a = n %}{{ n }}")
