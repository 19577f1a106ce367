# bpfleet_bpf_object(OUT SOURCE): compiles a .bpf.c to the object OUT, with BTF and without DWARF. User-space
# headers only: what a program wants of the kernel's structs it declares itself (CO-RE).
include_guard()
find_program(LLVM_STRIP NAMES llvm-strip llvm-strip-14 llvm-strip-19 REQUIRED)

# What libbpf's headers call this machine.
string(REGEX REPLACE "x86_64|AMD64" "x86" BPF_ARCH "${CMAKE_SYSTEM_PROCESSOR}")
string(REGEX REPLACE "aarch64" "arm64" BPF_ARCH "${BPF_ARCH}")

function(bpfleet_bpf_object out source)
	set(flags -O2 -g -target bpf -mcpu=v3 -D__TARGET_ARCH_${BPF_ARCH} -I${CMAKE_SOURCE_DIR} -Wall -Wextra -Wno-unused-parameter)
	if(CMAKE_LIBRARY_ARCHITECTURE)
		list(APPEND flags -I/usr/include/${CMAKE_LIBRARY_ARCHITECTURE})
	endif()
	add_custom_command(OUTPUT ${out}
		COMMAND ${CLANG} ${flags} -MD -MT ${out} -MF ${out}.d -c ${source} -o ${out}
		COMMAND ${LLVM_STRIP} -g ${out}
		DEPENDS ${source} DEPFILE ${out}.d VERBATIM)
endfunction()
