# Writes the headers that a user's #include <asterias/...> reaches below DESTINATION: include/asterias/* as they are, and what they
# include from src/ as asterias/internal/*, with each #include rewritten to match. "runtime/config.hpp" thus means nothing to a
# user's compiler, or the user's own file of that name.
#
# usage: cmake -D SOURCE=<the project's folder> -D DESTINATION=<folder> -P WritePublicHeaders.cmake
cmake_minimum_required(VERSION 3.25)

# Writes `text` unless it is there already, so that nothing is compiled again for it.
function(write_if_different file text)
  set(present "")
  if(EXISTS "${file}")
    file(READ "${file}" present)
  endif()
  if(NOT present STREQUAL text)
    file(WRITE "${file}" "${text}")
  endif()
endfunction()

# Copies `from` to DESTINATION/`to` and appends what it includes from src/ to `waiting`.
macro(copy_header from to)
  file(READ "${from}" text)
  string(REGEX MATCHALL "#include \"[^\"\n]+\"" includes "${text}")
  foreach(include IN LISTS includes)
    string(REGEX REPLACE ".*\"(.*)\"" "\\1" path "${include}")
    if(EXISTS "${SOURCE}/src/${path}")
      string(REPLACE "${include}" "#include \"asterias/internal/${path}\"" text "${text}")
      list(APPEND waiting "${path}")
    endif()
  endforeach()
  write_if_different("${DESTINATION}/${to}" "${text}")
  list(APPEND written "${to}")
endmacro()

set(waiting "")
set(written "")
file(GLOB public RELATIVE "${SOURCE}/include" "${SOURCE}/include/asterias/*.h")
foreach(header IN LISTS public)
  copy_header("${SOURCE}/include/${header}" "${header}")
endforeach()
while(waiting)
  list(POP_FRONT waiting header)
  if(NOT "asterias/internal/${header}" IN_LIST written)
    copy_header("${SOURCE}/src/${header}" "asterias/internal/${header}")
  endif()
endwhile()

# What an earlier version of the tree had written.
file(GLOB_RECURSE present RELATIVE "${DESTINATION}" "${DESTINATION}/*")
foreach(file IN LISTS present)
  if(NOT file IN_LIST written)
    file(REMOVE "${DESTINATION}/${file}")
  endif()
endforeach()
