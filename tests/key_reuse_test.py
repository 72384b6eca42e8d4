import jax
from jax import lax
import jax.numpy as jnp
import pytest

from tests import key_reuse

KEY = jax.random.key(0)


def right(key, number):
  key, key_scan, key_vmap, key_loop, key_perm = jax.random.split(key, 5)

  def body(carry, key_step):
    carry, key_draw = jax.random.split(carry)
    return carry, jax.random.normal(key_draw) + jax.random.uniform(key_step)

  key_scan, key_steps = jax.random.split(key_scan)
  key_scan, x = lax.scan(body, key_scan, jax.random.split(key_steps, 3))

  def each(i):
    return jax.random.bernoulli(jax.random.fold_in(key_vmap, i), 0.5)

  y = jax.vmap(each)(number + jnp.arange(3))

  def later(i, total):
    return total + jax.random.normal(jax.random.fold_in(key_loop, i))

  z = lax.fori_loop(0, 4, later, 0.0)
  w = lax.cond(
    number > 0,
    lambda: jax.random.normal(key_perm, (3,)),
    lambda: jax.random.permutation(key_perm, jnp.arange(3.0)),
  )
  return key, x.sum() + y.sum() + z + w.sum() + jax.random.gamma(key_scan, 1.0)


def test_right_uses_pass():
  assert key_reuse.check(right, KEY, 3) > 8
  loss = jax.checkpoint(lambda x, key: x * jax.random.normal(key))
  key_reuse.check(jax.value_and_grad(loss), 1.0, KEY)


def twice(key, number):
  return jax.random.normal(key) + jax.random.uniform(key)


def drawn_and_split(key, number):
  return jax.random.normal(key) + jax.random.normal(jax.random.split(key)[0])


def folded_is_split(key, number):
  first, second = jax.random.split(key)
  third = jax.random.fold_in(key, 1)
  return jax.random.normal(first) + sum(map(jax.random.normal, (second, third)))


def split_into_two_and_three(key, number):
  return jax.random.normal(jax.random.split(key)[0]) + jax.random.normal(
    jax.random.split(key, 3)[0]
  )


def split_and_counted(key, number):
  return jax.random.normal(jax.random.split(key)[0]) + jax.random.normal(
    jax.random.fold_in(key, number)
  )


def every_round(key, number):
  return lax.scan(lambda x, _: (x + jax.random.normal(key), 0), 0.0, length=3)


def every_round_folded(key, number):
  def body(x, _):
    return x + jax.random.normal(jax.random.fold_in(key, number + 1)), 0

  return lax.scan(body, 0.0, length=3)


def before_a_branch(key, number):
  x = jax.random.normal(key)
  return lax.cond(number > 0, lambda: x + jax.random.normal(key), lambda: x)


def mapped(key, number):
  return jax.vmap(lambda x: x + jax.random.normal(key))(jnp.arange(3.0)) + (
    jax.jit(jax.random.normal)(key)
  )


def returned(key, number):
  key, _ = jax.random.split(key)
  return key, jax.random.normal(key)


@pytest.mark.parametrize(
  "function",
  [
    twice,
    drawn_and_split,
    folded_is_split,
    split_into_two_and_three,
    split_and_counted,
    every_round,
    every_round_folded,
    before_a_branch,
    mapped,
    returned,
  ],
)
def test_keys_that_are_used_twice_are_found(function):
  with pytest.raises(key_reuse.KeyReuseError):
    key_reuse.check(function, KEY, 3)
