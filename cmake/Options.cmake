# Language, warnings and instrumentation that hold for every target.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

set(BPFLEET_SANITIZE "" CACHE STRING "Sanitizers to build with: address,undefined or thread or empty")
option(BPFLEET_WERROR "Treat warnings as errors" OFF)
option(BPFLEET_FUZZ "Build the libFuzzer targets (clang only)" OFF)

set(BPFLEET_WARNINGS -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
	-Wswitch-enum -Wformat=2 -Wundef -Wvla)
# Messages are cut to their buffers on purpose, everywhere by snprintf(). Outputs that are untouched on
# failure look uninitialized to gcc wherever it cannot see the callee's result checked; clang-tidy does.
if(CMAKE_C_COMPILER_ID STREQUAL GNU)
	list(APPEND BPFLEET_WARNINGS -Wno-format-truncation -Wno-maybe-uninitialized)
endif()
if(BPFLEET_WERROR)
	list(APPEND BPFLEET_WARNINGS -Werror)
endif()

if(BPFLEET_SANITIZE)
	add_compile_options(-fsanitize=${BPFLEET_SANITIZE} -fno-omit-frame-pointer -g)
	add_link_options(-fsanitize=${BPFLEET_SANITIZE})
else()
	add_compile_options($<$<CONFIG:Release>:-D_FORTIFY_SOURCE=2>)
	add_compile_options(-fstack-protector-strong)
	# What a process does not call is not in it.
	add_compile_options(-ffunction-sections -fdata-sections)
	add_link_options(-Wl,-z,relro,-z,now -Wl,--as-needed -Wl,--gc-sections)
endif()
if(BPFLEET_FUZZ)
	add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -g)
	add_link_options(-fsanitize=address,undefined)
endif()
