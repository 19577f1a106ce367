# Each header of ours compiles alone: one generated source for each, in a library nothing links.
file(GLOB_RECURSE headers RELATIVE ${CMAKE_SOURCE_DIR} CONFIGURE_DEPENDS
	${CMAKE_SOURCE_DIR}/base/*.h ${CMAKE_SOURCE_DIR}/proto/*.h ${CMAKE_SOURCE_DIR}/rpc/*.h
	${CMAKE_SOURCE_DIR}/bundle/*.h ${CMAKE_SOURCE_DIR}/decode/*.h ${CMAKE_SOURCE_DIR}/store/*.h
	${CMAKE_SOURCE_DIR}/daemon/*.h ${CMAKE_SOURCE_DIR}/client/*.h
	${CMAKE_SOURCE_DIR}/exporter/*.h)
foreach(header ${headers})
	if(header MATCHES "fixture/")
		continue()
	endif()
	string(MAKE_C_IDENTIFIER ${header} name)
	file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/headers/${name}.c
		CONTENT "#include \"${header}\"\nextern int ${name};\nint ${name};\n" @ONLY)
	list(APPEND sources ${CMAKE_BINARY_DIR}/headers/${name}.c)
endforeach()
add_library(every-header-compiles-alone STATIC ${sources})
target_include_directories(every-header-compiles-alone PRIVATE ${CMAKE_SOURCE_DIR})
target_link_libraries(every-header-compiles-alone PRIVATE bpfleet_ipc_proto bpfleet_proto
	bpfleet_core_state PkgConfig::GRPC PkgConfig::SODIUM PkgConfig::LIBBPF PkgConfig::SQLITE
	PkgConfig::YAML PkgConfig::CMOCKA PkgConfig::SECCOMP)
add_dependencies(every-header-compiles-alone bpfleet_proto bpfleet_ipc_proto bpfleet_core_state)
