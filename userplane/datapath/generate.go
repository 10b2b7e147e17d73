package datapath

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -go-package datapath -type layout -type reason -type entry_flag -type side -type event -type cell -type word -type meter -type usage -type hop -type ue_key -type filter_family -type trait -type watch -type filter -type direction -type limited -type event_kind -type park_head -type parked -type rule pgwu ../../bpf/pgwu.bpf.c -- -std=gnu11 -O2 -mcpu=v3 -Wall -Werror -fno-ident -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
