# Asks a Catch2 program for its cases and writes a ctest script that runs each one. Called after linking (CatchTests.cmake).
#
# Labels: the folder's, and any of the tags below that a case carries; [unit] and [parity] replace the folder's label.
cmake_minimum_required(VERSION 3.25)
set(label_tags unit parity slow fault multi_rank gpu)

set(ENV{ASAN_OPTIONS} "detect_leaks=0")   # listing is no test
set(names_only --list-test-names-only)
set(fail_on_no_match " --warn NoTests")   # v2 calls a name that matches nothing a success
if(catch_major EQUAL 3)
  set(names_only --list-tests --verbosity quiet)
  set(fail_on_no_match "")
endif()

# Sets `out` to the case names that match the Catch2 test specification in ARGN (all visible ones when empty).
function(list_cases out)
  execute_process(COMMAND "${program}" ${ARGN} ${names_only} OUTPUT_VARIABLE text ERROR_VARIABLE error
    RESULT_VARIABLE code WORKING_DIRECTORY "${work}")
  # Catch2 v2 returns the number of cases; a crash gives a word.
  if(NOT code MATCHES "^[0-9]+$")
    message(FATAL_ERROR "${program} cannot list its cases (${code}):\n${text}${error}")
  endif()
  if(text MATCHES "[;\"]")
    message(FATAL_ERROR "${program}: the name of a test case holds a semicolon or a quote, which ctest or Catch2 would read:\n${text}")
  endif()
  string(REGEX REPLACE "\r?\n" ";" text "${text}")
  set(names "")
  foreach(name IN LISTS text)
    string(STRIP "${name}" name)
    if(name)
      list(APPEND names "${name}")
    endif()
  endforeach()
  set(${out} "${names}" PARENT_SCOPE)
endfunction()

execute_process(COMMAND "${program}" --list-tags OUTPUT_VARIABLE tags ERROR_QUIET WORKING_DIRECTORY "${work}")
list_cases(cases)
if(NOT cases)
  message(FATAL_ERROR "${program} has no test case; CATCH_TEST_CASE is the name of the macro here")
endif()
foreach(tag IN LISTS label_tags)
  set(cases_${tag} "")
  if(tags MATCHES "\\[${tag}\\]")
    list_cases(cases_${tag} "[${tag}]")
  endif()
endforeach()

set(environment "")
if(NOT leaks)
  set(environment "ENVIRONMENT ASAN_OPTIONS=detect_leaks=0")
endif()
set(script "")
foreach(case IN LISTS cases)
  set(labels "")
  foreach(tag IN LISTS label_tags)
    if(case IN_LIST cases_${tag})
      list(APPEND labels ${tag})
    endif()
  endforeach()
  if(NOT "unit" IN_LIST labels AND NOT "parity" IN_LIST labels)
    list(PREPEND labels ${label})
  endif()
  string(REGEX REPLACE "([][,\\])" "\\\\\\1" filter "${case}")   # Catch2 reads these as its own syntax
  set(test "[==[${folder}/${case}]==]")
  string(APPEND script
    "add_test(${test} [==[${program}]==] [==[${filter}]==]${fail_on_no_match})\n"
    "set_tests_properties(${test} PROPERTIES TIMEOUT 300 WORKING_DIRECTORY [==[${work}]==]\n"
    "  LABELS [==[${labels}]==] ${environment})\n")
endforeach()
file(WRITE "${list}" "${script}")
