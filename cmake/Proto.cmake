# bpfleet_proto(NAME PROTOS ... [LIBRARIES ...]): protobuf-c code and one descriptor set for the .proto files
# (paths below ROOT), as the library bpfleet_NAME. Generated files are not held to our warnings.
function(bpfleet_proto name)
	cmake_parse_arguments(A "" "ROOT" "PROTOS;LIBRARIES" ${ARGN})
	set(out ${CMAKE_BINARY_DIR}/generated)
	file(MAKE_DIRECTORY ${out})
	foreach(proto ${A_PROTOS})
		string(REPLACE ".proto" ".pb-c" base ${proto})
		add_custom_command(OUTPUT ${out}/${base}.c ${out}/${base}.h
			COMMAND ${PROTOC_C} --c_out=${out} -I${A_ROOT} -I${CMAKE_SOURCE_DIR}/proto -I/usr/include ${A_ROOT}/${proto}
			DEPENDS ${A_ROOT}/${proto} VERBATIM)
		list(APPEND sources ${out}/${base}.c)
		list(APPEND headers ${out}/${base}.h)
	endforeach()
	add_library(bpfleet_${name} STATIC ${sources} ${headers})
	target_include_directories(bpfleet_${name} SYSTEM PUBLIC ${out})
	target_link_libraries(bpfleet_${name} PUBLIC PkgConfig::PROTOBUF_C ${A_LIBRARIES})
endfunction()
