# bpfleet_library(NAME SOURCES ... LIBRARIES ...): a static library bpfleet_NAME with our warnings.
function(bpfleet_library name)
	cmake_parse_arguments(A "" "" "SOURCES;LIBRARIES" ${ARGN})
	add_library(bpfleet_${name} STATIC ${A_SOURCES})
	target_include_directories(bpfleet_${name} PUBLIC ${CMAKE_SOURCE_DIR})
	target_compile_options(bpfleet_${name} PRIVATE ${BPFLEET_WARNINGS})
	target_link_libraries(bpfleet_${name} PUBLIC ${A_LIBRARIES})
endfunction()

# bpfleet_program(NAME SOURCES ... LIBRARIES ...): an executable NAME in bin/ of the build folder.
function(bpfleet_program name)
	cmake_parse_arguments(A "" "" "SOURCES;LIBRARIES" ${ARGN})
	add_executable(${name} ${A_SOURCES})
	target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
	target_compile_options(${name} PRIVATE ${BPFLEET_WARNINGS})
	target_link_libraries(${name} PRIVATE ${A_LIBRARIES})
	set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
endfunction()

# bpfleet_test(NAME RING SOURCES ... LIBRARIES ... [ARGUMENTS ...] [TIMEOUT seconds]): a cmocka program, one
# ctest entry with the ring (unit, rpc, kernel, vm, fleet, fuzz) as its label. A test that cannot run
# here says why and exits with 77.
function(bpfleet_test name ring)
	cmake_parse_arguments(A "" "TIMEOUT" "SOURCES;LIBRARIES;ARGUMENTS" ${ARGN})
	add_executable(${name} ${A_SOURCES})
	target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
	target_compile_options(${name} PRIVATE ${BPFLEET_WARNINGS})
	target_link_libraries(${name} PRIVATE ${A_LIBRARIES} PkgConfig::CMOCKA)
	add_test(NAME ${name} COMMAND ${name} ${A_ARGUMENTS} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
	if(NOT A_TIMEOUT)
		set(A_TIMEOUT 120)
	endif()
	set_tests_properties(${name} PROPERTIES LABELS ${ring} TIMEOUT ${A_TIMEOUT} SKIP_RETURN_CODE 77)
endfunction()

# bpfleet_fuzzer(NAME SOURCES ... LIBRARIES ... CORPUS folder): with BPFLEET_FUZZ a libFuzzer program; else
# the same entry point behind tests/fuzz/replay.c, which runs every file of the corpus once (ring fuzz).
function(bpfleet_fuzzer name)
	cmake_parse_arguments(A "" "CORPUS" "SOURCES;LIBRARIES" ${ARGN})
	if(BPFLEET_FUZZ)
		add_executable(${name} ${A_SOURCES})
		target_link_options(${name} PRIVATE -fsanitize=fuzzer)
	else()
		add_executable(${name} ${A_SOURCES} ${CMAKE_SOURCE_DIR}/tests/fuzz/replay.c)
		add_test(NAME ${name} COMMAND ${name} ${A_CORPUS} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
		set_tests_properties(${name} PROPERTIES LABELS fuzz TIMEOUT 120)
	endif()
	target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
	target_compile_options(${name} PRIVATE ${BPFLEET_WARNINGS})
	target_link_libraries(${name} PRIVATE ${A_LIBRARIES})
endfunction()
