// Lines 4 to 6 of Algorithm 1 in one pass: what `_step` of _kernel_gpu.py is on a GPU.
//
// Compiled for one kind of step at a time. REAL is the type of the points and GRADIENT that of the
// gradient; LAW is 0 without noise, 1 for N(0, 1), 2 for -1 or 1; ANCHOR, MEAN and BUFFER are 1
// where there is one, INDEX where elements have numbers of their own.

#include <cstdint>
#include <cstring>

struct bfloat16 {
  uint16_t bits;
  operator float() const {
    uint32_t wide = uint32_t(bits) << 16;
    float number;
    std::memcpy(&number, &wide, 4);
    return number;
  }
};
using float16 = _Float16;

struct Numbers {
  REAL sign, decay, gamma, std, momentum, on_all, direct, through, apart, eta, alpha, none;
};

static inline uint32_t scramble(uint32_t x) {
  x = (x ^ x >> 16) * 0x7FEB352D;
  x = (x ^ x >> 15) * 0x846CA68B;
  return x ^ x >> 16;
}

static inline float two_point(uint32_t word) { return int32_t(word) < 0 ? -1.0f : 1.0f; }

// Box and Muller's sqrt(-2 ln u) cos(2 pi v); both functions are polynomials good to 1e-6.
static inline float gaussian(uint32_t word, uint32_t key) {
  float u = float(int32_t(word >> 8)) * 0x1p-24f + 0x1p-25f;
  float v = float(int32_t(scramble(word ^ key)) >> 8) * 0x1p-24f, y = v * v;
  float cosine = 58.790493f - y * 21.071106f;
  cosine = 64.92866f + y * (-85.27162f + y * cosine);
  cosine = 0.9999992f + y * (-19.738981f + y * cosine);

  int32_t bits;
  std::memcpy(&bits, &u, 4);
  int32_t exponent = (bits - 0x3F3504F3) >> 23;
  bits -= exponent * (1 << 23);
  float t;
  std::memcpy(&t, &bits, 4);
  t -= 1;
  float log = 0.2049176f + t * (-0.18680751f + t * 0.11931054f);
  log = 0.33314675f + t * (-0.2490829f + t * log);
  log = t * (1.000001f + t * (-0.50001144f + t * log)) + float(exponent) * 0.6931472f;
  return __builtin_sqrtf(-2 * log) * cosine;
}

extern "C" void langevin_step(
    REAL* __restrict x, const GRADIENT* __restrict gradient, const REAL* __restrict anchor,
    REAL* __restrict mean, REAL* __restrict buffer, const int32_t* __restrict index,
    const uint32_t* integers, const REAL* numbers, int64_t count, int threads) {
  const uint32_t multiplier = integers[0], added = integers[1], key = integers[2];
  const uint32_t first = integers[3];
  Numbers s;
  std::memcpy(&s, numbers, sizeof s);

#pragma omp parallel for simd num_threads(threads)
  for (int64_t i = 0; i < count; i++) {
    REAL slope = s.sign * REAL(gradient[i]) + s.decay * x[i];
    REAL rest = ANCHOR ? s.gamma * (x[i] - anchor[i]) : REAL(0);
    if (LAW) {
      uint32_t number = first + (INDEX ? uint32_t(index[i]) : uint32_t(i));
      uint32_t word = scramble(number * multiplier + added);
      rest -= s.std * REAL(LAW == 1 ? gaussian(word, key) : two_point(word));
    }
    REAL moved;
    if (BUFFER) {
      REAL filled = s.momentum * buffer[i] + slope + s.on_all * rest;
      moved = x[i] - s.eta * (s.direct * slope + s.through * filled + s.apart * rest);
      buffer[i] = filled;
    } else {
      moved = x[i] - s.eta * (slope + rest);
    }
    if (MEAN) mean[i] += s.alpha * (moved - mean[i]);
    x[i] = moved;
  }
}
