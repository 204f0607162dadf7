# Sourced by the scripts: where the project is, and how they say what they wait for. No script of its own.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Where the distribution's cmake is too old, setup puts a newer one here.
if [[ -d $root/.deps/cmake-venv/bin ]]; then PATH="$root/.deps/cmake-venv/bin:$PATH"; fi
phase_name=""
phase_start=0

# Prints one line of our own, apart from the output of the tools.
say() { printf '==> %s\n' "$*"; }

# Stops with one line.
die() {
  printf '==> error: %s\n' "$*" >&2
  exit 1
}

# Ends the phase before, with its time, and begins the one called $1.
phase() {
  end_phase
  phase_name=$1
  phase_start=$SECONDS
  say "$phase_name"
}

# Prints how long the current phase took, if there is one.
end_phase() {
  if [[ -n $phase_name ]]; then say "$phase_name: $((SECONDS - phase_start)) s"; fi
  phase_name=""
}

# await WHAT COMMAND...: runs COMMAND quietly, says every 15 s that it still waits for WHAT, and shows the output if it fails.
await() {
  local what=$1 output pid start=$SECONDS ticks=0 code=0
  shift
  output=$(mktemp)
  "$@" < /dev/null > "$output" 2>&1 &
  pid=$!
  while kill -0 "$pid" 2> /dev/null; do
    sleep 0.2
    ticks=$((ticks + 1))
    if ((ticks % 75 == 0)); then say "still waiting for $what ($((SECONDS - start)) s)"; fi
  done
  wait "$pid" || code=$?
  if ((code != 0)); then tail -n 40 "$output" >&2; fi
  rm -f "$output"
  return "$code"
}
