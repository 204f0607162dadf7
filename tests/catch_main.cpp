// The main() of every test program, compiled once.
//
// Tests find the repository and the built programs through two environment variables, which a program started by hand
// gets here: ASTERIAS_SOURCE_DIR (data/, README.md) and ASTERIAS_BIN_DIR (asterias). A test that needs a child process
// starts /proc/self/exe with the name of a hidden case, "[.child]".
#include <cstdlib>

#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

int main(int argc, char** argv) {
  ::setenv("ASTERIAS_SOURCE_DIR", ASTERIAS_SOURCE_DIR, /*replace=*/0);
  ::setenv("ASTERIAS_BIN_DIR", ASTERIAS_BIN_DIR, /*replace=*/0);
  // Of the programs that a test starts: idle OpenMP threads that spin take the cores of the tests beside them.
  ::setenv("OMP_WAIT_POLICY", "passive", /*replace=*/0);
  return Catch::Session().run(argc, argv);
}
