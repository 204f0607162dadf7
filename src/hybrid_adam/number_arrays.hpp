// Arrays that say by their C++ type how their elements are stored: gradients, 16-bit parameters and moments.
//
// Views only: nothing here owns, reads or writes memory. How a format is decoded and encoded is codec_math.hpp's and
// dynamic_code.hpp's business; who may be combined with whom is said by update_kernel.hpp. Callers that hold bytes with
// a type known at run time (the runtime) use the constructors with a NumberType or moment_array().
//
// Threading: immutable values. Units: elements, unless a name says bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hybrid_adam/host_device.hpp"

namespace asterias::hybrid_adam {

enum class NumberType : std::uint8_t { kFloat32, kBfloat16, kFloat16 };

// One stored element. Only their addresses matter: nobody computes with them.
struct Bfloat16 {
  std::uint16_t bits;
};
struct Float16 {
  std::uint16_t bits;
};

constexpr std::size_t size_bytes(NumberType type) { return type == NumberType::kFloat32 ? 4 : 2; }

// Numbers that are read only: gradients.
struct ConstNumbers {
  const void* data = nullptr;
  NumberType type = NumberType::kFloat32;

  constexpr ConstNumbers() = default;
  constexpr ConstNumbers(std::nullptr_t) {}
  constexpr ConstNumbers(const float* values) : data(values) {}
  constexpr ConstNumbers(const Bfloat16* values) : data(values), type(NumberType::kBfloat16) {}
  constexpr ConstNumbers(const Float16* values) : data(values), type(NumberType::kFloat16) {}
  constexpr ConstNumbers(const void* values, NumberType of) : data(values), type(of) {}

  // Points at element `begin`; null stays null.
  ASTERIAS_HD ConstNumbers from(std::size_t begin) const {
    return {data ? static_cast<const std::byte*>(data) + begin * size_bytes(type) : nullptr, type};
  }
};

// 16-bit numbers that are written only: the parameter as the model computes with it. Null: nothing is written.
struct Numbers16 {
  void* data = nullptr;
  NumberType type = NumberType::kBfloat16;

  constexpr Numbers16() = default;
  constexpr Numbers16(std::nullptr_t) {}
  constexpr Numbers16(Bfloat16* values) : data(values) {}
  constexpr Numbers16(Float16* values) : data(values), type(NumberType::kFloat16) {}
  constexpr Numbers16(void* values, NumberType of) : data(values), type(of) {}

  ASTERIAS_HD Numbers16 from(std::size_t begin) const {
    return {data ? static_cast<std::byte*>(data) + begin * size_bytes(type) : nullptr, type};
  }
};

// How an optimizer's moments are stored.
enum class StateCodec : std::uint8_t {
  kFloat32,
  kBfloat16,  // rounded stochastically (codec_math.hpp)
  kBlock8,    // one byte an element and one fp32 absmax for each block of 256 elements (dynamic_code.hpp)
};

// Elements that share one absmax, counted from their tensor's start.
inline constexpr std::size_t kBlock8Elements = 256;

constexpr std::size_t size_bytes(StateCodec codec) {
  return codec == StateCodec::kFloat32 ? 4 : codec == StateCodec::kBfloat16 ? 2 : 1;
}

// Names a codec as the configuration does: "fp32", "bf16", "8bit".
constexpr const char* codec_name(StateCodec codec) {
  return codec == StateCodec::kFloat32 ? "fp32" : codec == StateCodec::kBfloat16 ? "bf16" : "8bit";
}

// One byte an element; absmax[b] belongs to elements [256 b, 256 (b + 1)).
struct Block8 {
  std::uint8_t* codes;
  float* absmax;
};

// One moment (exp_avg or exp_avg_sq). Zero-filled memory reads as zeros in every codec.
struct MomentArray {
  void* data = nullptr;
  float* absmax = nullptr;  // kBlock8 only
  StateCodec codec = StateCodec::kFloat32;

  constexpr MomentArray() = default;
  constexpr MomentArray(std::nullptr_t) {}
  constexpr MomentArray(float* values) : data(values) {}
  constexpr MomentArray(Bfloat16* values) : data(values), codec(StateCodec::kBfloat16) {}
  constexpr MomentArray(const Block8& block8) : data(block8.codes), absmax(block8.absmax), codec(StateCodec::kBlock8) {}

  explicit constexpr operator bool() const { return data != nullptr; }

  // Points at element `begin`, for kBlock8 a multiple of 256; null stays null.
  ASTERIAS_HD MomentArray from(std::size_t begin) const {
    if (!data) return *this;
    MomentArray rest = *this;
    rest.data = static_cast<std::byte*>(data) + begin * size_bytes(codec);
    rest.absmax = absmax ? absmax + begin / kBlock8Elements : nullptr;
    return rest;
  }
};

// The layout of a chunk's list of moments: all elements, then, for kBlock8, one absmax slot for each 128 elements, so
// that tensors that start at multiples of 128 elements never share a slot: block b of the tensor at element o has slot
// o / 128 + b.
inline constexpr std::size_t kBlock8SlotElements = 128;

// Counts the bytes of a list of `list_elements`, for kBlock8 a multiple of 4.
constexpr std::size_t moment_list_bytes(StateCodec codec, std::size_t list_elements) {
  if (codec != StateCodec::kBlock8) return list_elements * size_bytes(codec);
  return list_elements + (list_elements + kBlock8SlotElements - 1) / kBlock8SlotElements * sizeof(float);
}

// Finds the moments of the tensor that starts at element `offset` (kBlock8: a multiple of 128) of a list at `list`,
// which is aligned to 4 bytes.
inline MomentArray moment_array(StateCodec codec, void* list, std::size_t list_elements, std::size_t offset) {
  auto* const bytes = static_cast<std::byte*>(list);
  if (codec == StateCodec::kFloat32) return static_cast<float*>(list) + offset;
  if (codec == StateCodec::kBfloat16) return static_cast<Bfloat16*>(list) + offset;
  return Block8{reinterpret_cast<std::uint8_t*>(bytes) + offset,
                reinterpret_cast<float*>(bytes + list_elements) + offset / kBlock8SlotElements};
}

}  // namespace asterias::hybrid_adam
