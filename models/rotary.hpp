// Rotary positions (Su et al. 2021): queries and keys are turned by their positions, so that their product depends on
// the distance alone.
//
// The layout is Meta's: neighbours 2i and 2i + 1 of a head are a complex number, which position t turns by
// t * theta^(-2i / width). Hugging Face's weights pair i with i + width / 2 instead: the same model once the rows of
// each head's query and key projection are reordered. The arithmetic is fp32 in every precision, as published.
//
// Threading: as torch operators, of which none waits for a device.
#pragma once

#include <cstdint>

#include <torch/torch.h>

namespace asterias::models {

// The turns of positions 0 ... tokens - 1 in heads of `width`, which is even: complex64 [tokens, 1, width / 2].
torch::Tensor rotary_turns(std::int64_t tokens, std::int64_t width, double theta, torch::Device device);

// Turns heads [B, T, heads, width] by turns [T, 1, width / 2].
torch::Tensor rotate(const torch::Tensor& heads, const torch::Tensor& turns);

}  // namespace asterias::models
