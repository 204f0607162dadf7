// Asterias: trains any torch::nn::Module in a memory budget, with the same bits as unlimited memory gives.
//
// The one header a user includes. See docs/ for the configuration, the errors and the rules of threads.
#pragma once

#include "asterias/checkpoint.h"
#include "asterias/engine.h"
#include "asterias/run_log.h"
#include "base/error.hpp"
#include "base/log.hpp"
#include "runtime/config.hpp"
#include "runtime/telemetry.hpp"
