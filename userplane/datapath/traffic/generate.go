package traffic

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -go-package traffic -type flow -type sight -type count programs ../../../bpf/traffic.bpf.c -- -std=gnu11 -O2 -mcpu=v3 -Wall -Werror -fno-ident -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -go-package traffic -type seed mutator ../../../bpf/mutate.bpf.c -- -std=gnu11 -O2 -mcpu=v3 -Wall -Werror -fno-ident -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
