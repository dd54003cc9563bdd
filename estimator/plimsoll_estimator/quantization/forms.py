"""Stored forms of a quantised weight: bytes of one linear or of fused experts before post-processing, and what loading adds.

`methods` chooses them. Each form follows the `create_weights` of one vLLM method or scheme (vllm/model_executor/layers/quantization/).
Knows no names.
"""

from __future__ import annotations

from dataclasses import dataclass

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import EngineRefusal, Unsupported
from plimsoll_estimator.quantization.method import Experts, Linear, plain_experts
from plimsoll_estimator.units import ceil_div


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Unquantised."""

    def weight_bits(self, item: int) -> int:
        """Bits of one weight as it rests, scales apart."""
        return item * 8

    def linear(self, shape: Linear) -> int:
        """Bytes of weight and scales of a linear."""
        return shape.k * shape.n * shape.item

    def experts(self, shape: Experts) -> int:
        """Bytes of weights, scales and biases of fused experts."""
        return plain_experts(shape)

    def linear_added(self, shape: Linear) -> int:
        """Bytes that post-processing adds to a linear, or (negative) drops."""
        return 0

    def experts_added(self, shape: Experts) -> int:
        """Bytes that post-processing adds to fused experts, or drops."""
        return 0


PLAIN = Form()
LOADED_INTERMEDIATE_STEP = 128
LOADED_HIDDEN_STEP = 256
TILE_ROWS = 256
TILE_COLUMNS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor8(Form):
    """Eight bits with one scale per logical matrix; `static` adds input scales."""

    static: bool

    def weight_bits(self, item: int) -> int:
        """Bits of one weight."""
        return 8

    def linear(self, shape: Linear) -> int:
        """Weight, then float32 scalars per part."""
        return shape.k * shape.n + len(shape.parts) * (8 if self.static else 4)

    def experts(self, shape: Experts) -> int:
        """Weight; scales [E, parts] and [E]; input scales [E] twice."""
        scales = shape.local * (shape.halves + 1) * 4 + (shape.local * 8 if self.static else 0)
        return shape.elements + shape.bias_bytes + scales


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel8(Form):
    """Eight bits with a float32 scale per output channel; `static` adds one input scale per part."""

    static: bool = False

    def weight_bits(self, item: int) -> int:
        """Bits of one weight."""
        return 8

    def linear(self, shape: Linear) -> int:
        """Weight and channel scales."""
        return shape.k * shape.n + 4 * shape.n + (4 * len(shape.parts) if self.static else 0)

    def experts(self, shape: Experts) -> int:
        """Weight and channel scales of w13 and w2."""
        return shape.elements + shape.bias_bytes + 4 * shape.local * (shape.up + shape.hidden) + (8 * shape.local if self.static else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block8(Form):
    """fp8 with a scale per block of `block_n` outputs and `block_k` inputs. `refine`: releases that subdivide blocks for experts.

    `uneven_merges`: merged columns whose parts are no multiples of a block are let through (linear.py, fp8 alone). `repeats_scales`:
    Marlin multiplies, whose scales are per output and `block_k` inputs, of the model's dtype (utils/marlin_utils_fp8.py). `made`:
    of whole weights, of which no shape is refused (online/fp8.py: per_block_cast_to_fp8); what becomes of activations that groups do not
    divide is a kernel's choice, and not known.
    """

    block_n: int
    block_k: int
    refine: bool
    scale_bytes: int = 4
    uneven_merges: bool = False
    repeats_scales: bool = False
    made: bool = False

    def weight_bits(self, item: int) -> int:
        """Bits of one weight."""
        return 8

    def linear(self, shape: Linear) -> int:
        """Weight and block scales; the shapes vLLM's validate_fp8_block_shape refuses are refused."""
        n = shape.n
        size = shape.k * n + ceil_div(n, self.block_n) * ceil_div(shape.k, self.block_k) * self.scale_bytes
        if self.made:
            self._check_groups(shape.k)
            return size
        if self.uneven_merges and len(shape.parts) > 1 and any(part % self.block_n for part in shape.parts):
            return size
        if shape.k != shape.k_full and shape.k_full // shape.k > 1 and shape.k % self.block_k:
            raise _block_refusal("Weight input_size_per_partition", shape.k, "block_k", self.block_k)
        split = shape.n_full // n > 1
        if not shape.lenient and (split or len(shape.parts) > 1):
            checked = shape.parts if split else shape.parts[:-1]
            for part in checked:
                if part % self.block_n:
                    raise _block_refusal("Weight output_partition_size", part, "block_n", self.block_n)
        return size

    def experts(self, shape: Experts) -> int:
        """Weights and block scales of w13 and w2."""
        block_n, block_k = self.block_n, self.block_k
        if self.made:
            self._check_groups(shape.hidden)
            self._check_groups(shape.intermediate)
        if shape.intermediate % block_n or shape.intermediate % block_k:
            if not self.refine:
                raise _block_refusal("The output_size of gate's and up's weight", shape.intermediate, "block_n", block_n)
            while block_n > 32 and shape.intermediate % block_n:
                block_n //= 2
            block_k = min(block_k, block_n)
            if shape.intermediate % block_n:
                raise _block_refusal("The output_size of gate's and up's weight", shape.intermediate, "block_n", self.block_n)
        up = shape.halves * ceil_div(shape.intermediate, block_n) * ceil_div(shape.hidden, block_k)
        down = ceil_div(shape.hidden, block_n) * ceil_div(shape.intermediate, block_k)
        return shape.elements + shape.bias_bytes + shape.local * (up + down) * self.scale_bytes

    def _check_groups(self, inputs: int) -> None:
        if inputs % self.block_k:
            words = f"no rule for blocks of {self.block_k} that are made of weights with {inputs} inputs, which they do not divide"
            raise Unsupported(Check.UNSUPPORTED_QUANTIZATION, words)

    def linear_added(self, shape: Linear) -> int:
        """Scales repeated for Marlin."""
        if not self.repeats_scales:
            return 0
        groups = ceil_div(shape.k, self.block_k)
        return groups * (shape.n * shape.item - ceil_div(shape.n, self.block_n) * self.scale_bytes)

    def experts_added(self, shape: Experts) -> int:
        """Scales repeated for Marlin."""
        if not self.repeats_scales:
            return 0
        repeated = shape.up * ceil_div(shape.hidden, self.block_k) + shape.hidden * ceil_div(shape.intermediate, self.block_k)
        stored = self.experts(shape) - shape.elements - shape.bias_bytes
        return shape.local * repeated * shape.item - stored


def _block_refusal(what: str, value: int, name: str, block: int) -> EngineRefusal:
    return EngineRefusal(Check.QUANTIZATION_BLOCK_MISMATCH, f"{what} = {value} is not divisible by weight quantization {name} = {block}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fp4(Form):
    """NVFP4: four bits, an fp8 scale per 16 inputs, a few float32 globals. `narrow_input_scale`: input scales in the model's dtype."""

    group: int = 16
    narrow_input_scale: bool = False

    def weight_bits(self, item: int) -> int:
        """Bits of one weight."""
        return 4

    def linear(self, shape: Linear) -> int:
        """Packed weight, block scales, global and input scale per part."""
        if shape.k % self.group:
            raise EngineRefusal(Check.QUANTIZATION_GROUP_MISMATCH, "Unsupported model when in features size is not multiple of 16")
        scalars = len(shape.parts) * (4 + (shape.item if self.narrow_input_scale else 4))
        return shape.k * shape.n // 2 + shape.k // self.group * shape.n + scalars

    def experts(self, shape: Experts) -> int:
        """Packed w13 and w2, block scales, global and input scales."""
        packed = shape.elements // 2 + shape.local * (
            shape.up * (shape.hidden // self.group) + shape.hidden * (shape.intermediate // self.group)
        )
        return packed + shape.bias_bytes + shape.local * (shape.halves + 1) * 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Micro(Form):
    """MX formats: `bits` per weight and an 8-bit exponent per `group` inputs."""

    bits: int
    group: int = 32

    def weight_bits(self, item: int) -> int:
        """Bits of one weight."""
        return self.bits

    def linear(self, shape: Linear) -> int:
        """Weight and exponents."""
        if shape.k % self.group:
            raise EngineRefusal(Check.QUANTIZATION_GROUP_MISMATCH, f"input size {shape.k} is not divisible by group_size = {self.group}")
        return shape.k * shape.n * self.bits // 8 + shape.n * (shape.k // self.group)

    def experts(self, shape: Experts) -> int:
        """Weights and exponents of w13 and w2."""
        exponents = shape.local * (shape.up * (shape.hidden // self.group) + shape.hidden * (shape.intermediate // self.group))
        return shape.elements * self.bits // 8 + exponents + shape.bias_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedMicro(Micro):
    """MXFP4 experts padded for the kernel: sizes rounded up to `intermediate_step` and `hidden_step`.

    Kernels that lay the values out again after loading end up at the LOADED steps (logs of gpt-oss on H100, 0.19.0).
    """

    intermediate_step: int
    hidden_step: int
    drops_loaded_scales: bool = False

    def experts(self, shape: Experts) -> int:
        """The padded tensors, biases included."""
        return Micro.experts(self, _padded(shape, self.intermediate_step, self.hidden_step))

    def experts_added(self, shape: Experts) -> int:
        """Growth from the created padding to the resting one; where the scales as loaded are dropped, that of their layout alone.

        Then the scales that stay are padded to whole tiles, and the biases stay beside a float32 copy.
        """
        if self.drops_loaded_scales:
            made = _padded(shape, self.intermediate_step, self.hidden_step)
            tiled = _scales(made, self.group, TILE_ROWS, TILE_COLUMNS)
            return tiled - _scales(made, self.group, 1, 1) + 2 * made.bias_bytes
        resting = Micro.experts(self, _padded(shape, LOADED_INTERMEDIATE_STEP, LOADED_HIDDEN_STEP))
        return max(resting - self.experts(shape), 0)


def _scales(shape: Experts, group: int, rows: int, columns: int) -> int:
    """Bytes of the exponents of both projections, each a matrix padded to `rows` x `columns`."""
    up = _up(shape.up, rows) * _up(shape.hidden // group, columns)
    down = _up(shape.hidden, rows) * _up(shape.intermediate // group, columns)
    return shape.local * (up + down)


def _up(value: int, step: int) -> int:
    return ceil_div(value, step) * step


def _padded(shape: Experts, intermediate_step: int, hidden_step: int) -> Experts:
    return shape._replace(
        intermediate=ceil_div(shape.intermediate, intermediate_step) * intermediate_step,
        hidden=ceil_div(shape.hidden, hidden_step) * hidden_step,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouped(Form):
    """Integer weights packed into int32 with a scale per group: GPTQ, AWQ, compressed-tensors pack-quantized.

    `zeros`: packed zero points exist; `index`: an int32 per input (act-order), `expert_index`: in experts
    alone; `shape_bytes`: a stored weight shape.
    `whole_groups`: a rank must hold whole groups. `drops_zeros`: post-processing frees zero points and index (Marlin's symmetric path).
    """

    bits: int
    group: int
    zeros: bool
    index: bool = False
    expert_index: bool = False
    act_order: bool = False
    shape_bytes: int = 0
    drops_zeros: bool = False
    whole_groups: bool = True

    def weight_bits(self, item: int) -> int:
        """Bits of one weight."""
        return self.bits

    def _groups(self, shape: Linear) -> int:
        group = self.group if self.group > 0 else shape.k_full
        row = shape.k != shape.k_full
        if row and (self.act_order or self.group <= 0):
            return ceil_div(shape.k_full, group)
        if self.whole_groups and shape.k % group:
            raise EngineRefusal(
                Check.QUANTIZATION_GROUP_MISMATCH, f"Weight input_size_per_partition={shape.k} is not divisible by group_size={group}."
            )
        return shape.k // group

    def linear(self, shape: Linear) -> int:
        """Packed weight, scales, zeros, index, shape."""
        groups = self._groups(shape)
        total = ceil_div(shape.k * self.bits, 32) * 4 * shape.n + groups * shape.n * shape.item
        if self.zeros:
            total += groups * shape.n * self.bits // 8
        if self.index:
            total += shape.k * 4
        return total + self.shape_bytes

    def linear_added(self, shape: Linear) -> int:
        """Zero points and index are replaced by empty tensors."""
        if not self.drops_zeros:
            return 0
        dropped = self._groups(shape) * shape.n * self.bits // 8 if self.zeros else 0
        return -(dropped + (shape.k * 4 if self.index and not self.act_order else 0))

    def experts(self, shape: Experts) -> int:
        """Packed w13 and w2 with scales, zeros and two int32 indices per input."""
        group = self.group if self.group > 0 else 0
        if group and (shape.hidden % group or shape.intermediate % group):
            raise EngineRefusal(
                Check.QUANTIZATION_GROUP_MISMATCH,
                f"Weight input_size_per_partition={shape.intermediate} is not divisible by group_size={group}.",
            )
        up_groups = shape.hidden // group if group else 1
        down_groups = shape.intermediate // group if group else 1
        rows = up_groups * shape.up + down_groups * shape.hidden
        each = (shape.up + shape.intermediate) * shape.hidden * self.bits // 8 + rows * shape.item
        if self.zeros:
            each += rows * self.bits // 8
        if self.index or self.expert_index:
            each += 2 * 4 * (shape.hidden + shape.intermediate)
        if self.shape_bytes:
            each += 2 * 2 * shape.item
        return shape.local * each + shape.bias_bytes

    def experts_added(self, shape: Experts) -> int:
        """Without act-order the indices are replaced by empty tensors."""
        indexed = (self.index or self.expert_index) and not self.act_order
        return -shape.local * 2 * 4 * (shape.hidden + shape.intermediate) if indexed else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Online(Form):
    """Created unquantised and quantised while loading: vLLM's run-time quantisation, resting in `resting`'s bytes."""

    resting: Form
    experts_only: bool = False

    def weight_bits(self, item: int) -> int:
        """Bits of one weight once quantised."""
        return self.resting.weight_bits(item)

    def linear_added(self, shape: Linear) -> int:
        """The difference to the resting form."""
        return 0 if self.experts_only else self.resting.linear(shape) - self.linear(shape)

    def experts_added(self, shape: Experts) -> int:
        """The difference to the resting form."""
        return self.resting.experts(shape) - self.experts(shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class BitsAndBytes(Form):
    """bitsandbytes: four bits with double-quantised absmax per 64 weights, or eight bits with a float32 scale per output.

    Created are the packed weights; the quantisation state appears while loading
    (vllm/model_executor/model_loader/bitsandbytes_loader.py, 0.19.1).
    """

    bits: int

    def weight_bits(self, item: int) -> int:
        """Bits of one weight."""
        return self.bits

    def linear(self, shape: Linear) -> int:
        """Packed weights."""
        return ceil_div(shape.k * shape.n * self.bits, 8)

    def linear_added(self, shape: Linear) -> int:
        """absmax in uint8 with a float32 per 256 of them, and two code books per part; or the row scales."""
        if self.bits == 8:
            return 4 * shape.n
        blocks = ceil_div(shape.k * shape.n, 64)
        return blocks + ceil_div(blocks, 256) * 4 + len(shape.parts) * (16 + 256 + 1) * 4

    def experts(self, shape: Experts) -> int:
        """Packed experts."""
        return ceil_div(shape.elements * self.bits, 8) + shape.bias_bytes

    def experts_added(self, shape: Experts) -> int:
        """Quantisation state of the experts."""
        blocks = ceil_div(shape.elements, 64)
        return blocks + ceil_div(blocks, 256) * 4 if self.bits == 4 else 4 * shape.local * (shape.up + shape.hidden)
