// The known word that a mistyped one was probably meant to be: of flags, of configuration keys.
//
// Threading: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace asterias {

// Finds the word of `known` that the fewest changes of a letter make of `word`, if they are few for its length: one,
// and one more for every four letters. Of several, the first.
std::optional<std::string> nearest_word(std::string_view word, const std::vector<std::string>& known);

}  // namespace asterias
