"""Kernels and bytes, counted in small programs as compilers print them."""

import pytest

from tests.compile import kernels

# A loop over rows: h = h + x[i], y[i] = h. `{trips}` is what CUDA's compiler
# says of it and a TPU's does not.
_LOOP = """HloModule loop, is_scheduled=true

%add (p.0: f32[64,256], p.1: f32[256], p.2: s32[]) -> f32[256] {{
  %p.0 = f32[64,256]{{1,0}} parameter(0)
  %p.2 = s32[] parameter(2)
  %zero = s32[] constant(0)
  %row = f32[1,256]{{1,0}} dynamic-slice(%p.0, %p.2, %zero), dynamic_slice_sizes={{1,256}}
  %flat = f32[256]{{0}} bitcast(%row)
  %p.1 = f32[256]{{0}} parameter(1)
  ROOT %sum = f32[256]{{0}} add(%p.1, %flat)
}}

%write (p.0: f32[64,256], p.1: f32[256], p.2: s32[]) -> f32[64,256] {{
  %p.0 = f32[64,256]{{1,0}} parameter(0)
  %p.1 = f32[256]{{0}} parameter(1)
  %row = f32[1,256]{{1,0}} bitcast(%p.1)
  %p.2 = s32[] parameter(2)
  %zero = s32[] constant(0)
  ROOT %update = f32[64,256]{{1,0}} dynamic-update-slice(%p.0, %row, %p.2, %zero)
}}

%next (p: s32[]) -> s32[] {{
  %p = s32[] parameter(0)
  %one = s32[] constant(1)
  ROOT %sum = s32[] add(%p, %one)
}}

%body (carry: (s32[], f32[256], f32[64,256], f32[64,256])) -> (s32[], f32[256], f32[64,256], f32[64,256]) {{
  %carry = (s32[], f32[256]{{0}}, f32[64,256]{{1,0}}, /*index=3*/f32[64,256]{{1,0}}) parameter(0)
  %i = s32[] get-tuple-element(%carry), index=0
  %h = f32[256]{{0}} get-tuple-element(%carry), index=1
  %y = f32[64,256]{{1,0}} get-tuple-element(%carry), index=2
  %x = f32[64,256]{{1,0}} get-tuple-element(%carry), index=3
  %new = f32[256]{{0}} fusion(%x, %h, %i), kind=kLoop, calls=%add
  %written = f32[64,256]{{1,0}} fusion(%y, %new, %i), kind=kLoop, calls=%write
  %after = s32[] fusion(%i), kind=kLoop, calls=%next
  ROOT %tuple = (s32[], f32[256]{{0}}, f32[64,256]{{1,0}}, /*index=3*/f32[64,256]{{1,0}}) tuple(%after, %new, %written, /*index=3*/%x)
}}

%compare (p: s32[]) -> pred[] {{
  %p = s32[] parameter(0)
  %end = s32[] constant(64)
  ROOT %less = pred[] compare(%p, %end), direction=LT
}}

%condition (carry: (s32[], f32[256], f32[64,256], f32[64,256])) -> pred[] {{
  %carry = (s32[], f32[256]{{0}}, f32[64,256]{{1,0}}, /*index=3*/f32[64,256]{{1,0}}) parameter(0)
  %i = s32[] get-tuple-element(%carry), index=0
  ROOT %less = pred[] fusion(%i), kind=kLoop, calls=%compare
}}

ENTRY %main (x: f32[64,256], h: f32[256], y: f32[64,256]) -> f32[64,256] {{
  %x = f32[64,256]{{1,0}} parameter(0)
  %h = f32[256]{{0}} parameter(1)
  %y = f32[64,256]{{1,0}} parameter(2)
  %start = s32[] constant(0)
  %tuple = (s32[], f32[256]{{0}}, f32[64,256]{{1,0}}, /*index=3*/f32[64,256]{{1,0}}) tuple(%start, %h, %y, /*index=3*/%x)
  %while = (s32[], f32[256]{{0}}, f32[64,256]{{1,0}}, /*index=3*/f32[64,256]{{1,0}}) while(%tuple), condition=%condition, body=%body{trips}
  ROOT %result = f32[64,256]{{1,0}} get-tuple-element(%while), index=2
}}
"""  # noqa: E501
_KNOWN = ', backend_config={"known_trip_count":{"n":"64"}}'
_ROW = 4 * 256


def entry(*lines, before=""):
  """A program of these instructions."""
  body = "\n".join(f"  {line}" for line in lines)
  return (
    f"HloModule m\n{before}\nENTRY %main (x: f32[8]) -> f32[8] {{\n{body}\n}}\n"
  )


@pytest.mark.parametrize("trips", [_KNOWN, ""])
def test_a_loop_counts_its_rows_as_often_as_it_runs(trips):
  text = _LOOP.format(trips=trips)
  # The two fusions, the counter, and the condition.
  assert kernels.count(text) == 64 * 4
  # x[i] and h in, h out; h in, y[i] out; and the counter: three operands, its
  # successor, and the condition with its byte.
  assert kernels.moved(text) == 64 * (5 * _ROW + 5 * 4 + 1)


def test_a_loop_without_a_length_is_refused():
  text = _LOOP.format(trips="").replace("constant(64)", "copy(%p)")
  with pytest.raises(ValueError, match="a loop of unknown length: %while"):
    kernels.count(text)


def test_operands_and_results_of_plain_kernels():
  text = entry(
    "%x = bf16[8,128]{1,0} parameter(0)",
    "%w = f32[128,4]{1,0} parameter(1)",
    "%half = bf16[4,128]{1,0} slice(%x), slice={[0:4], [0:128]}",
    "%wide = f32[4,128]{1,0} convert(%half)",
    "ROOT %y = f32[4,4]{1,0} dot(%wide, %w), lhs_contracting_dims={1}",
  )
  assert kernels.count(text) == 3
  half = 4 * 128
  assert kernels.moved(text) == (
    2 * half * 2 + half * (2 + 4) + half * 4 + half * 4 + 16 * 4
  )


def test_a_fusion_reads_of_operands_what_its_slices_need():
  fused = """
%fused (p.0: f32[64,256], p.1: f32[64,256]) -> f32[8,256] {
  %p.0 = f32[64,256]{1,0} parameter(0)
  %double = f32[64,256]{1,0} add(%p.0, %p.0)
  %first = f32[8,256]{1,0} slice(%double), slice={[0:8], [0:256]}
  %p.1 = f32[64,256]{1,0} parameter(1)
  %zero = f32[] constant(0)
  %sum = f32[256]{0} reduce(%p.1, %zero), dimensions={0}, to_apply=%add
  %same = f32[8,256]{1,0} broadcast(%sum), dimensions={1}
  ROOT %y = f32[8,256]{1,0} add(%first, %same)
}
"""
  text = entry(
    "%x = f32[64,256]{1,0} parameter(0)",
    "%w = f32[64,256]{1,0} parameter(1)",
    "ROOT %y = f32[8,256]{1,0} fusion(%x, %w), kind=kLoop, calls=%fused",
    before=fused,
  )
  assert kernels.count(text) == 1
  assert kernels.moved(text) == (8 + 64 + 8) * _ROW


def test_an_update_of_what_the_fusion_made_itself_writes_all_of_it():
  fused = """
%fused (p.0: f32[1,256], p.1: s32[]) -> f32[64,256] {
  %zero = f32[] constant(0)
  %zeros = f32[64,256]{1,0} broadcast(%zero), dimensions={}
  %p.0 = f32[1,256]{1,0} parameter(0)
  %p.1 = s32[] parameter(1)
  %none = s32[] constant(0)
  ROOT %y = f32[64,256]{1,0} dynamic-update-slice(%zeros, %p.0, %p.1, %none)
}
"""
  text = entry(
    "%x = f32[1,256]{1,0} parameter(0)",
    "%i = s32[] parameter(1)",
    "ROOT %y = f32[64,256]{1,0} fusion(%x, %i), kind=kLoop, calls=%fused",
    before=fused,
  )
  assert kernels.moved(text) == 65 * _ROW + 4


def test_a_fusion_beside_other_work_counts_once():
  fused = """
%fused (p.0: f32[64,256], p.1: f32[1,256], p.2: s32[]) -> f32[64,256] {
  %p.0 = f32[64,256]{1,0} parameter(0)
  %p.1 = f32[1,256]{1,0} parameter(1)
  %p.2 = s32[] parameter(2)
  %none = s32[] constant(0)
  ROOT %y = f32[64,256]{1,0} dynamic-update-slice(%p.0, %p.1, %p.2, %none)
}
"""
  text = entry(
    "%x = f32[64,256]{1,0} parameter(0)",
    "%row = f32[1,256]{1,0} parameter(1)",
    "%i = s32[] parameter(2)",
    "%start = ((f32[64,256]{1,0}, f32[1,256]{1,0}, s32[]), f32[64,256]{1,0},"
    " u32[]) fusion-start(%x, %row, %i), kind=kLoop, calls=%fused",
    "ROOT %y = f32[64,256]{1,0} fusion-done(%start)",
    before=fused,
  )
  assert kernels.count(text) == 1
  assert kernels.moved(text) == 2 * _ROW + 4


def test_what_lies_on_a_tpu_chip_does_not_count():
  text = entry(
    "%x = f32[64,256]{1,0:T(8,128)} parameter(0)",
    "%start = (f32[64,256]{1,0:T(8,128)S(1)}, f32[64,256]{1,0:T(8,128)},"
    " u32[]{:S(2)}) copy-start(%x)",
    "%here = f32[64,256]{1,0:T(8,128)S(1)} copy-done(%start)",
    "%part = ((f32[64,256]{1,0:T(8,128)}), f32[8,256]{1,0:T(8,128)S(1)},"
    " s32[]{:S(2)}) slice-start(%x), slice={[0:8], [0:256]}",
    "%rows = f32[8,256]{1,0:T(8,128)S(1)} slice-done(%part)",
    "%room = f32[64,256]{1,0:T(8,128)} custom-call(),"
    ' custom_call_target="AllocateBuffer"',
    "%twice = f32[64,256]{1,0:T(8,128)S(1)} add(%here, %here)",
    "ROOT %y = f32[64,256]{1,0:T(8,128)} add(%twice, %here)",
  )
  # In come x and eight of its rows, out goes y.
  assert kernels.moved(text) == (64 + 8 + 64) * _ROW


def test_the_workspace_of_a_library_does_not_count():
  text = entry(
    "%x = f32[256,256]{1,0} parameter(0)",
    "ROOT %y = (f32[256,256]{1,0}, s8[4194304]{0}) custom-call(%x, %x),"
    ' custom_call_target="__cublas$gemm"',
  )
  assert kernels.moved(text) == 3 * 256 * _ROW


def test_of_branches_the_longest_counts():
  branches = """
%short (p: f32[64,256]) -> f32[64,256] {
  ROOT %p = f32[64,256]{1,0} parameter(0)
}

%long (p: f32[64,256]) -> f32[64,256] {
  %p = f32[64,256]{1,0} parameter(0)
  %twice = f32[64,256]{1,0} add(%p, %p)
  ROOT %y = f32[64,256]{1,0} negate(%twice)
}
"""
  text = entry(
    "%which = s32[] parameter(0)",
    "%x = f32[64,256]{1,0} parameter(1)",
    "ROOT %y = f32[64,256]{1,0} conditional(%which, %x, %x),"
    " branch_computations={%short, %long}",
    before=branches,
  )
  assert kernels.count(text) == 3
  assert kernels.moved(text) == 5 * 64 * _ROW
