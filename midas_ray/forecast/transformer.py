"""pytorch-forecasting's Temporal Fusion Transformer with the same weights and outputs, computed with less work.

What is used: all windows of a batch have full length, symbols are the only category and never change within a window,
and all other inputs are real numbers.

- the inputs' own networks in few operations (`selection`), 2 times as fast there, where nine tenths of a step pass;
- the symbol's embedding and contexts once a window, not once a bucket;
- the LSTMs on plain arrays, not on packed sequences; the attention's mask once and for all, its heads together.
"""

from typing import Any

import torch
import torch.nn.functional as F
from pytorch_forecasting import TemporalFusionTransformer
from pytorch_forecasting.models.temporal_fusion_transformer.sub_modules import (
    InterpretableMultiHeadAttention,
    VariableSelectionNetwork,
)
from torch import Tensor, nn

from midas_ray.forecast.selection import group_size, select_variables


class WindowTransformer(TemporalFusionTransformer):
    """Takes and gives what the stock network does, for windows of full length. `state_dict` is the stock one."""

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of x it reads encoder_cont (B, L, R), decoder_cont (B, H, R), encoder_cat (B, L, 1); lengths are passed on.

        Gives prediction (B, H, Q), the weights of the inputs and the attention, as the stock network.
        """
        encoder_BLR, decoder_BHR = x["encoder_cont"], x["decoder_cont"]
        length, ahead = encoder_BLR.shape[1], decoder_BHR.shape[1]
        symbol = self.input_embeddings(x["encoder_cat"][:, 0])
        static_BD, static_weights = self.static_variable_selection(symbol)
        context_BD = self.static_context_variable_selection(static_BD)
        past_BLD, past_weights = self._select(self.encoder_variable_selection, encoder_BLR, context_BD)
        future_BHD, future_weights = self._select(self.decoder_variable_selection, decoder_BHR, context_BD)
        state = (
            self.static_context_initial_hidden_lstm(static_BD)[None],
            self.static_context_initial_cell_lstm(static_BD)[None],
        )
        gated_BTD = self.post_lstm_gate_encoder(self._recall(past_BLD, future_BHD, state))
        local_BTD = self.post_lstm_add_norm_encoder(gated_BTD, torch.cat([past_BLD, future_BHD], dim=1))
        enriched_BTD = self.static_enrichment(local_BTD, self.static_context_enrichment(static_BD)[:, None])
        asked_BHD = enriched_BTD[:, length:]
        attended_BHD, attention = attend(self.multihead_attn, asked_BHD, enriched_BTD, causal_mask(length, ahead, x))
        output_BHD = self.pos_wise_ff(self.post_attn_gate_norm(attended_BHD, asked_BHD))
        output_BHD = self.pre_output_gate_norm(output_BHD, local_BTD[:, length:])
        return self.to_network_output(
            prediction=self.output_layer(output_BHD),
            encoder_attention=attention[..., :length],
            decoder_attention=attention[..., length:],
            static_variables=static_weights,
            encoder_variables=past_weights,
            decoder_variables=future_weights,
            decoder_lengths=x["decoder_lengths"],
            encoder_lengths=x["encoder_lengths"],
        )

    @torch.compiler.disable
    def _recall(self, past_BLD: Tensor, future_BHD: Tensor, state: tuple[Tensor, Tensor]) -> Tensor:
        """(B, T, D) the LSTMs, over the past and on over the future.

        torch.compile takes no LSTM: so marked, it makes one graph before and one after them, and not ten.
        """
        seen_BLD, state = nn.LSTM.forward(self.lstm_encoder, past_BLD, state)
        foreseen_BHD, _ = nn.LSTM.forward(self.lstm_decoder, future_BHD, state)
        return torch.cat([seen_BLD, foreseen_BHD], dim=1)

    def _select(self, selection: VariableSelectionNetwork, x_BTR: Tensor, context_BD: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) and the weights (B, T, 1, V)."""
        names = list(selection.input_sizes)
        reals = list(self.hparams.x_reals)
        if len(names) == 1:
            at = reals.index(names[0])
            return selection({names[0]: x_BTR[..., at : at + 1]}, context_BD[:, None].expand(-1, x_BTR.shape[1], -1))
        if names != reals:
            x_BTR = x_BTR[..., [reals.index(name) for name in names]]
        rows = x_BTR.shape[0] * x_BTR.shape[1]
        size = group_size(rows, self.hparams.hidden_size, len(names), x_BTR.device.type != "cpu")
        selected, weights = select_variables(selection, x_BTR, context_BD, size)
        return selected, weights[:, :, None]


def causal_mask(length: int, ahead: int, x: dict[str, Any]) -> Tensor:
    """(H, L + H) True where a forecast must not look: at itself and at what follows it."""
    device = x["encoder_cont"].device
    return torch.ones(ahead, length + ahead, dtype=torch.bool, device=device).triu(diagonal=length)


def attend(
    network: InterpretableMultiHeadAttention, asked_BHD: Tensor, all_BTD: Tensor, mask_HT: Tensor
) -> tuple[Tensor, Tensor]:
    """(B, H, D) and the attention (B, H, heads, T): heads share their values, so that they go together."""
    heads, width = network.n_head, network.d_k
    weight = torch.cat([layer.weight for layer in network.q_layers])
    queries = F.linear(asked_BHD, weight, torch.cat([layer.bias for layer in network.q_layers]))
    weight = torch.cat([layer.weight for layer in network.k_layers])
    keys = F.linear(all_BTD, weight, torch.cat([layer.bias for layer in network.k_layers]))
    queries_BKHW = queries.unflatten(2, (heads, width)).transpose(1, 2)
    keys_BKTW = keys.unflatten(2, (heads, width)).transpose(1, 2)
    scores_BKHT = queries_BKHW @ keys_BKTW.transpose(2, 3) / width**0.5
    attention_BKHT = torch.softmax(scores_BKHT.masked_fill(mask_HT, network.mask_bias), dim=3)
    seen_BKHW = network.dropout(attention_BKHT @ network.v_layer(all_BTD)[:, None])
    output_BHD = network.dropout(network.w_h(seen_BKHW.mean(dim=1)))
    return output_BHD, attention_BKHT.transpose(1, 2)
