"""Variable selection of real inputs in few large operations, with the weights of pytorch-forecasting's own network.

Each input x passes, alone, through a linear map to I numbers, a gated residual network to D numbers and a norm; the
stock network does that with some 30 small operations an input. Here the inputs go together, `group` at a time, and what
is linear in x is worked out on the weights instead of on the data:

    first layer      W1 (w x + b) + b1 = (W1 w) x + (W1 b + b1)
    skip connection  norm(x a + c) = (x a' + c') / sqrt(x^2 var(a) + 2 x cov(a, c) + var(c) + eps), a' = a - mean(a)
    selection        the flat embedding (V I) is never made: its first layer and its skip connection are maps of x (V)

Legend: N rows (windows times buckets), V inputs, I width of an input's own network, D hidden width, G inputs a group.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_forecasting.models.temporal_fusion_transformer.sub_modules import (
    GatedResidualNetwork,
    VariableSelectionNetwork,
)
from torch import Tensor

CACHE_FLOATS = 1 << 20
"""Numbers in the two widest arrays of a group on a CPU: 4 MB, which stay in the cache between operations."""


def group_size(rows: int, hidden: int, inputs: int, on_gpu: bool) -> int:
    """Inputs that go together: all on a GPU, where each operation costs a launch; what the cache holds on a CPU."""
    return inputs if on_gpu else max(1, min(inputs, CACHE_FLOATS // (2 * hidden * rows)))


def _stretching(size_in: int, size_out: int, like: Tensor) -> Tensor:
    """(size_in, size_out) what linear interpolation does to `size_in` numbers."""
    unit = torch.eye(size_in, dtype=like.dtype, device=like.device)
    return F.interpolate(unit[:, None], size_out, mode="linear", align_corners=True)[:, 0]


@dataclass(frozen=True, slots=True)
class _Stacked:
    """The weights of all inputs' own networks, in the order of the inputs."""

    scale_VI: Tensor
    shift_VI: Tensor
    fc1_VII: Tensor
    fc1_bias_VI: Tensor
    fc2_VII: Tensor
    fc2_bias_VI: Tensor
    glu_VXI: Tensor
    """X = 2 D."""
    glu_bias_VX: Tensor
    norm_VD: Tensor
    norm_bias_VD: Tensor

    @classmethod
    def of(cls, network: VariableSelectionNetwork, grns: list[GatedResidualNetwork]) -> "_Stacked":
        scalers = [network.prescalers[name] for name in network.input_sizes]
        gates = [grn.gate_norm.glu.fc for grn in grns]
        norms = [grn.gate_norm.add_norm.norm for grn in grns]
        return cls(
            scale_VI=torch.cat([scaler.weight for scaler in scalers], dim=1).T,
            shift_VI=torch.stack([scaler.bias for scaler in scalers]),
            fc1_VII=torch.stack([grn.fc1.weight for grn in grns]),
            fc1_bias_VI=torch.stack([grn.fc1.bias for grn in grns]),
            fc2_VII=torch.stack([grn.fc2.weight for grn in grns]),
            fc2_bias_VI=torch.stack([grn.fc2.bias for grn in grns]),
            glu_VXI=torch.stack([gate.weight for gate in gates]),
            glu_bias_VX=torch.stack([gate.bias for gate in gates]),
            norm_VD=torch.stack([norm.weight for norm in norms]),
            norm_bias_VD=torch.stack([norm.bias for norm in norms]),
        )


def _skip(x_VN: Tensor, stacked: _Stacked, grns: list[GatedResidualNetwork]) -> tuple[Tensor, Tensor]:
    """Skip connection of every input as (V, N, K) @ (V, K, D)."""
    width, hidden = stacked.scale_VI.shape[1], stacked.norm_VD.shape[1]
    ones = torch.ones_like(x_VN)
    if width == hidden:
        return torch.stack([x_VN, ones], dim=2), torch.stack([stacked.scale_VI, stacked.shift_VI], dim=1)
    norms = [grn.resample_norm for grn in grns]
    gate_VD = 2 * torch.sigmoid(torch.stack([norm.mask for norm in norms]))
    stretch_ID = _stretching(width, hidden, x_VN)
    slope_VD, level_VD = (stacked.scale_VI @ stretch_ID) * gate_VD, (stacked.shift_VI @ stretch_ID) * gate_VD
    slope_VD = slope_VD - slope_VD.mean(dim=1, keepdim=True)
    level_VD = level_VD - level_VD.mean(dim=1, keepdim=True)
    # The square is completed, so that nothing cancels: a sum of squares, whatever x.
    slope_var_V1 = (slope_VD**2).mean(dim=1, keepdim=True)
    vertex_V1 = (slope_VD * level_VD).mean(dim=1, keepdim=True) / slope_var_V1.clamp(min=1e-30)
    least_var_V1 = ((level_VD - vertex_V1 * slope_VD) ** 2).mean(dim=1, keepdim=True)
    spread_VN = torch.rsqrt(slope_var_V1 * (x_VN + vertex_V1) ** 2 + least_var_V1 + norms[0].norm.eps)
    weight_VD = torch.stack([norm.norm.weight for norm in norms])
    bias_VD = torch.stack([norm.norm.bias for norm in norms])
    factors_VNK = torch.stack([x_VN * spread_VN, spread_VN, ones], dim=2)
    return factors_VNK, torch.stack([slope_VD * weight_VD, level_VD * weight_VD, bias_VD], dim=1)


def _weights(
    network: VariableSelectionNetwork, x_NV: Tensor, context_BC: Tensor, times: int, stacked: _Stacked
) -> Tensor:
    """(N, V) how much of each input is let through."""
    grn = network.flattened_grn
    inputs, width = stacked.scale_VI.shape
    first_CVI = grn.fc1.weight.view(-1, inputs, width)
    hidden_NC = x_NV @ torch.einsum("cvi,vi->vc", first_CVI, stacked.scale_VI)
    level_C = torch.einsum("cvi,vi->c", first_CVI, stacked.shift_VI) + grn.fc1.bias
    hidden_NC = hidden_NC + (grn.context(context_BC) + level_C).repeat_interleave(times, dim=0)
    hidden_NC = grn.fc2(F.elu(hidden_NC))
    if width == 1:
        skip_NV = x_NV * stacked.scale_VI[:, 0] + stacked.shift_VI[:, 0]
    else:
        stretch_VIV = _stretching(inputs * width, inputs, x_NV).view(inputs, width, inputs)
        slope_VV = torch.einsum("viu,vi->vu", stretch_VIV, stacked.scale_VI)
        level_V = torch.einsum("viu,vi->u", stretch_VIV, stacked.shift_VI)
        norm = grn.resample_norm
        skip_NV = norm.norm((x_NV @ slope_VV + level_V) * (2 * torch.sigmoid(norm.mask)))
    return torch.softmax(grn.gate_norm(hidden_NC, skip_NV), dim=1)


def _seen_together(
    hidden_VNI: Tensor, factors_VNK: Tensor, weights_VN: Tensor, skip_VKD: Tensor, stacked: _Stacked, eps: float
) -> Tensor:
    """(N, D) sum over the inputs of weight times network output, all inputs at once: few launches, much memory."""
    hidden = stacked.norm_VD.shape[1]
    gate_VNX = torch.baddbmm(stacked.glu_bias_VX[:, None], hidden_VNI, stacked.glu_VXI.transpose(1, 2))
    seen_VND = F.layer_norm(F.glu(gate_VNX, dim=2) + factors_VNK @ skip_VKD, (hidden,), eps=eps)
    return torch.einsum("vnd,vd,vn->nd", seen_VND, stacked.norm_VD, weights_VN)


class _SeenInPieces(torch.autograd.Function):
    """The same, `size` inputs at a time in memory that is used again; the way back works each piece out anew.

    What a piece needs stays in the processor's cache from one operation to the next, on both ways.
    """

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        hidden_VNI, factors_VNK, weights_VN, skip_VKD, glu_VXI, glu_bias_VX, norm_VD, eps, size = given
        inputs, rows = weights_VN.shape
        total_ND = hidden_VNI.new_zeros(rows, norm_VD.shape[1])
        for start in range(0, inputs, size):
            part = slice(start, start + size)
            _, _, _, seen_VND, _, _ = _piece(hidden_VNI, factors_VNK, skip_VKD, glu_VXI, glu_bias_VX, eps, part)
            seen_VND *= norm_VD[part, None]
            for number, seen_ND in enumerate(seen_VND, start):
                total_ND.addcmul_(seen_ND, weights_VN[number, :, None])
        ctx.save_for_backward(hidden_VNI, factors_VNK, weights_VN, skip_VKD, glu_VXI, glu_bias_VX, norm_VD)
        ctx.eps, ctx.size = eps, size
        return total_ND

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (wanted_ND,) = grads
        hidden_VNI, factors_VNK, weights_VN, skip_VKD, glu_VXI, glu_bias_VX, norm_VD = ctx.saved_tensors
        results = [torch.empty_like(tensor) for tensor in ctx.saved_tensors]
        ones_V1N = hidden_VNI.new_ones(ctx.size, 1, hidden_VNI.shape[1])
        for start in range(0, len(norm_VD), ctx.size):
            part = slice(start, start + ctx.size)
            d_hidden, d_factors, d_weights, d_skip, d_glu, d_glu_bias, d_norm = (result[part] for result in results)
            value, gate, summed, seen, mean, rstd = _piece(
                hidden_VNI, factors_VNK, skip_VKD, glu_VXI, glu_bias_VX, ctx.eps, part
            )
            norm_VD1, weights_V1N = norm_VD[part, :, None], weights_VN[part, None]
            seen *= wanted_ND
            d_weights.copy_(torch.bmm(seen, norm_VD1)[:, :, 0])
            d_norm.copy_(torch.bmm(weights_V1N, seen)[:, 0])
            torch.mul(wanted_ND, norm_VD[part, None], out=seen)
            seen *= weights_V1N.transpose(1, 2)
            shape = [norm_VD.shape[1]]
            back, _, _ = torch.ops.aten.native_layer_norm_backward(
                seen, summed, shape, mean, rstd, None, None, [True, False, False]
            )
            d_factors.copy_(torch.bmm(back, skip_VKD[part].transpose(1, 2)))
            d_skip.copy_(torch.bmm(factors_VNK[part].transpose(1, 2), back))
            hidden = hidden_VNI[part]
            d_value = torch.mul(back, gate, out=seen)
            back *= value
            d_gate = torch.ops.aten.sigmoid_backward(back, gate)
            half = skip_VKD.shape[2]
            for d_half, at in ((d_value, slice(half)), (d_gate, slice(half, None))):
                d_glu[:, at] = torch.bmm(d_half.transpose(1, 2), hidden)
                d_glu_bias[:, at] = torch.bmm(ones_V1N[: len(hidden)], d_half)[:, 0]
            torch.bmm(d_value, glu_VXI[part, :half], out=d_hidden)
            d_hidden.baddbmm_(d_gate, glu_VXI[part, half:])
        return (*results, None, None)


def _piece(
    hidden_VNI: Tensor, factors_VNK: Tensor, skip_VKD: Tensor, glu_VXI: Tensor, glu_bias_VX: Tensor, eps: float,
    part: slice,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gated value, its gate, their product with the skip connection added, the same normed (all (V, N, D)), its means
    and 1 / deviations.
    """
    half = skip_VKD.shape[2]
    hidden = hidden_VNI[part]
    # Two halves of the gated linear unit, each contiguous: far from as slow as the halves of one array.
    value, gate = (
        torch.baddbmm(glu_bias_VX[part, None, at], hidden, glu_VXI[part, at].transpose(1, 2))
        for at in (slice(half), slice(half, None))
    )
    gate.sigmoid_()
    summed = value * gate
    summed.baddbmm_(factors_VNK[part], skip_VKD[part])
    seen, mean, rstd = torch.native_layer_norm(summed, [half], None, None, eps)
    return value, gate, summed, seen, mean, rstd


def select_variables(
    network: VariableSelectionNetwork, x_BTV: Tensor, context_BC: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """What `network` gives for its V > 1 real inputs, in their order: (B, T, D), and the weights (B, T, V).

    `context_BC` holds for all T buckets of a window. `size` inputs go together; all of them: plain operations that
    torch.compile and autocast understand. Equal to `network.forward` up to rounding; with dropout the masks are others.
    """
    batch, times, inputs = x_BTV.shape
    grns = [network.single_variable_grns[name] for name in network.input_sizes]
    stacked = _Stacked.of(network, grns)
    x_NV = x_BTV.reshape(batch * times, inputs)
    weights_NV = _weights(network, x_NV, context_BC, times, stacked)
    x_VN = x_NV.T.contiguous()
    slope_VI = torch.einsum("voi,vi->vo", stacked.fc1_VII, stacked.scale_VI)
    level_VI = torch.einsum("voi,vi->vo", stacked.fc1_VII, stacked.shift_VI) + stacked.fc1_bias_VI
    hidden_VNI = F.elu(torch.addcmul(level_VI[:, None], x_VN[:, :, None], slope_VI[:, None]))
    hidden_VNI = torch.baddbmm(stacked.fc2_bias_VI[:, None], hidden_VNI, stacked.fc2_VII.transpose(1, 2))
    glu = grns[0].gate_norm.glu
    if glu.dropout is not None:
        hidden_VNI = F.dropout(hidden_VNI, glu.dropout.p, network.training)
    factors_VNK, skip_VKD = _skip(x_VN, stacked, grns)
    eps = grns[0].gate_norm.add_norm.norm.eps
    if size >= inputs:
        seen_ND = _seen_together(hidden_VNI, factors_VNK, weights_NV.T, skip_VKD, stacked, eps)
    else:
        seen_ND = _SeenInPieces.apply(
            hidden_VNI, factors_VNK, weights_NV.T, skip_VKD, stacked.glu_VXI, stacked.glu_bias_VX, stacked.norm_VD,
            eps, size,
        )  # fmt: skip
    total_ND = seen_ND + weights_NV @ stacked.norm_bias_VD
    return total_ND.view(batch, times, -1), weights_NV.view(batch, times, inputs)
