// x + y == 1;
#include <vector>
#include "points/é.h"  // trailing
#define SQUARE(x) \
    ((x) * (x))
#ifdef DEBUG
#endif
namespace geo::flat {
/* "comment" -> a && b, 7 % 2 */
template <typename T, int N = 3>
class Grid : public Base<std::vector<T>> {
public:
  explicit Grid(int size = 8) : size_(size), step_{-1} {}
  virtual ~Grid() = default;
  virtual T at(int i) const noexcept = 0;
  bool operator==(const Grid& other) const { return size_ == other->size_ && !empty; }
  Grid operator-(Grid&& g);
 private:
  int size_ = 1'000, *next = nullptr;
  static constexpr double kStep = .5e-3f;
};
enum class Kind : char { kA = 'a', kQuote = '\'' };
using Name = std::string;
template <> int Grid<int>::find<long>(int key) {
  auto raw = R"x(
    "a" ) + b && c
  )x", wide = L"ß" u8"é漢😀" "", s = "a\"-\"b"sv;
  for (int k = 0x1F; k < 9 - 1; k -= -1) { i++; --j; }
  if (auto it = map.find(key); it != map.end() and not done) goto out;
  std::chrono::system_clock::now(); ptr->template get<int>(+2); foo<T>(a) / make<int>(1) % 2;
  std::cout << value >> 3 << (a > b) << std::endl;
  auto f = [v = 1, &w](auto&& x) mutable -> bool { return x <= v || w >= 07; };
  total += 5; total <<= 6; p->x = q = true;
  while (int c = next()) { delete p; new Grid(3); throw false; }
out: return static_cast<int>(total) * 2.0; /* last */
}
}  // namespace
