// Inputs of the tests of formats: arrays of numbers in a chosen type, moments in a chosen codec, and 16-bit references
// by Eigen.
#pragma once

#include <cstring>

#include <eigen3/Eigen/Core>

#include "hybrid_adam/array_casts.hpp"
#include "update_cases.hpp"

namespace asterias::hybrid_adam::testing {

inline float eigen_decode(NumberType type, std::uint16_t bits) {
  if (type == NumberType::kBfloat16) return static_cast<float>(Eigen::numext::bit_cast<Eigen::bfloat16>(bits));
  return static_cast<float>(Eigen::numext::bit_cast<Eigen::half>(bits));
}

// Rounds by Eigen; every NaN becomes the positive quiet one.
inline std::uint16_t eigen_encode(NumberType type, float x) {
  if (std::isnan(x)) return type == NumberType::kBfloat16 ? 0x7fc0 : 0x7e00;
  if (type == NumberType::kBfloat16) return Eigen::numext::bit_cast<std::uint16_t>(Eigen::bfloat16(x));
  return Eigen::numext::bit_cast<std::uint16_t>(Eigen::half(x));
}

// Owned numbers of one type, at an offset from the start of their memory, with guard bytes on both sides.
class StoredNumbers {
 public:
  StoredNumbers(NumberType type, std::size_t count, std::size_t offset = 0)
      : type_(type), begin_((kGuards + offset) * size_bytes(type)), count_(count) {
    memory_.assign(begin_ + count * size_bytes(type) + kGuards * size_bytes(type), kGuard);
  }
  StoredNumbers(NumberType type, const std::vector<float>& values, std::size_t count, std::size_t offset = 0)
      : StoredNumbers(type, count, offset) {
    for (std::size_t i = 0; i < count; ++i) set(i, values[i]);
  }
  void* data() { return memory_.data() + begin_; }
  ConstNumbers view() const { return {memory_.data() + begin_, type_}; }
  Numbers16 output() { return {data(), type_}; }
  float operator[](std::size_t i) const {
    if (type_ == NumberType::kFloat32) return load<float>(i);
    return eigen_decode(type_, load<std::uint16_t>(i));
  }
  std::uint16_t bits16(std::size_t i) const { return load<std::uint16_t>(i); }
  bool has_guards() const {
    for (std::size_t i = 0; i < memory_.size(); ++i) {
      if ((i < begin_ || i >= begin_ + count_ * size_bytes(type_)) && memory_[i] != kGuard) return false;
    }
    return true;
  }
  bool operator==(const StoredNumbers& other) const { return memory_ == other.memory_; }

 private:
  static constexpr unsigned char kGuard = 0xa5;
  static constexpr std::size_t kGuards = 64;

  template <class T>
  T load(std::size_t i) const {
    T x;
    std::memcpy(&x, memory_.data() + begin_ + i * sizeof(T), sizeof(T));
    return x;
  }
  void set(std::size_t i, float x) {
    const std::uint16_t half = type_ == NumberType::kFloat32 ? std::uint16_t{0} : eigen_encode(type_, x);
    unsigned char* const to = memory_.data() + begin_ + i * size_bytes(type_);
    type_ == NumberType::kFloat32 ? std::memcpy(to, &x, sizeof(x)) : std::memcpy(to, &half, sizeof(half));
  }

  NumberType type_;
  std::size_t begin_, count_;
  std::vector<unsigned char> memory_;
};

// Owned moments of one codec, likewise. Zeros to begin with.
class StoredMoments {
 public:
  StoredMoments(StateCodec codec, std::size_t count, std::size_t offset = 0)
      : codec_(codec),
        begin_((kGuards + offset) * size_bytes(codec)),
        count_(count),
        bytes_(begin_ + (count + kGuards) * size_bytes(codec), kGuard),
        absmax_(2 * kGuards + blocks(), kGuardAbsmax) {
    std::memset(bytes_.data() + begin_, 0, count * size_bytes(codec));
    std::fill_n(absmax_.begin() + kGuards, blocks(), 0.0f);
  }
  MomentArray view() {
    if (codec_ == StateCodec::kFloat32) return reinterpret_cast<float*>(bytes_.data() + begin_);
    if (codec_ == StateCodec::kBfloat16) return reinterpret_cast<Bfloat16*>(bytes_.data() + begin_);
    return Block8{bytes_.data() + begin_, absmax()};
  }
  unsigned char* bytes() { return bytes_.data() + begin_; }
  float* absmax() { return absmax_.data() + kGuards; }
  std::size_t blocks() const { return codec_ == StateCodec::kBlock8 ? (count_ + 255) / 256 : 0; }
  bool has_guards() const {
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      if ((i < begin_ || i >= begin_ + count_ * size_bytes(codec_)) && bytes_[i] != kGuard) return false;
    }
    for (std::size_t i = 0; i < absmax_.size(); ++i) {
      if ((i < kGuards || i >= kGuards + blocks()) && absmax_[i] != kGuardAbsmax) return false;
    }
    return true;
  }
  std::vector<float> decoded(Moment moment) {
    std::vector<float> values(count_);
    decode_moments_on(SimdTarget::kPortable, moment, view(), values.data(), count_);
    return values;
  }
  // Compares what is stored, NaNs by their bits for coded moments.
  std::size_t count_differences(StoredMoments& other) {
    std::size_t differences = 0;
    for (std::size_t i = 0; i < count_; ++i) {
      float a = 0, b = 0;
      std::memcpy(&a, bytes() + i * size_bytes(codec_), size_bytes(codec_));
      std::memcpy(&b, other.bytes() + i * size_bytes(codec_), size_bytes(codec_));
      differences += same_bits(a, b) ? 0 : 1;
    }
    return differences + (std::memcmp(absmax(), other.absmax(), blocks() * sizeof(float)) == 0 ? 0 : 1);
  }

 private:
  static constexpr unsigned char kGuard = 0xa5;
  static constexpr float kGuardAbsmax = 12345.678f;
  static constexpr std::size_t kGuards = 64;

  StateCodec codec_;
  std::size_t begin_, count_;
  std::vector<unsigned char> bytes_;
  std::vector<float> absmax_;
};

struct Formats {
  NumberType grad;
  NumberType out;  // kFloat32: none
  StateCodec state;
};

inline std::string to_string(const Formats& f) {
  const auto name = [](NumberType t) {
    return std::string(t == NumberType::kFloat32 ? "fp32" : t == NumberType::kBfloat16 ? "bf16" : "fp16");
  };
  return name(f.grad) + " to " + (f.out == NumberType::kFloat32 ? "none" : name(f.out)) + ", " + codec_name(f.state);
}

// All that update_kernel.hpp lists.
inline std::vector<Formats> all_formats() {
  using enum NumberType;
  std::vector<Formats> formats;
  for (StateCodec state : {StateCodec::kFloat32, StateCodec::kBfloat16, StateCodec::kBlock8}) {
    for (NumberType out : {kFloat32, kBfloat16, kFloat16}) formats.push_back({kFloat32, out, state});
    for (NumberType out : {kFloat32, kBfloat16}) formats.push_back({kBfloat16, out, state});
    for (NumberType out : {kFloat32, kFloat16}) formats.push_back({kFloat16, out, state});
  }
  return formats;
}

inline constexpr RoundingKey kTestKey = make_rounding_key(7, 3, 5);

// The arrays of one update in some formats, made from fp32 ones.
struct CodedArrays {
  std::vector<float> param;
  StoredNumbers grad, out;
  StoredMoments exp_avg, exp_avg_sq;
  bool has_out;
  std::size_t count;
  std::uint64_t first_element;

  CodedArrays(const Formats& f, const Arrays& from, std::size_t of, std::size_t offset = 0, std::uint64_t first = 0)
      : param(from.param.begin(), from.param.begin() + static_cast<std::ptrdiff_t>(of)),
        grad(f.grad, from.grad, of, offset),
        out(f.out == NumberType::kFloat32 ? NumberType::kBfloat16 : f.out, of, offset * 3 % 17),
        exp_avg(f.state, of, offset * 5 % 17),
        exp_avg_sq(f.state, of, offset * 7 % 17),
        has_out(f.out != NumberType::kFloat32),
        count(of),
        first_element(first) {
    encode_moments_on(SimdTarget::kPortable, Moment::kExpAvg, from.exp_avg.data(), exp_avg.view(), of, first, {});
    encode_moments_on(SimdTarget::kPortable, Moment::kExpAvgSq, from.exp_avg_sq.data(), exp_avg_sq.view(), of, first,
                      {});
  }
  UpdateArrays view() {
    return {param.data(),  grad.view(), exp_avg.view(), exp_avg_sq.view(), count, has_out ? out.output() : Numbers16{},
            first_element, kTestKey};
  }
  bool has_guards() const {
    return grad.has_guards() && out.has_guards() && exp_avg.has_guards() && exp_avg_sq.has_guards();
  }
  std::size_t count_differences(CodedArrays& other) {
    return testing::count_differences(param, other.param) + exp_avg.count_differences(other.exp_avg) +
           exp_avg_sq.count_differences(other.exp_avg_sq) + (out == other.out ? 0 : 1);
  }
};

}  // namespace asterias::hybrid_adam::testing
