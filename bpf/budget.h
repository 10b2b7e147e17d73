/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains how often a CPU may do what costs others: so many times a second, and as many at once. */
#ifndef XEPC_BUDGET_H
#define XEPC_BUDGET_H

#include "kernel.h"

enum budget_of {
	BUDGET_ICMP,
	BUDGET_URL,
	BUDGETS,
};

struct budget {
	__u64 last; /* ns of CLOCK_MONOTONIC */
	__u64 left; /* times 1e9 */
};

/* Per CPU, and XDP programs do not preempt each other on one: no atomics. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, enum budget_of);
	__type(value, struct budget);
	__uint(max_entries, BUDGETS);
} budgets SEC(".maps");

/* take_one says whether it may be done once more now, at so many times a second. */
static __always_inline bool take_one(enum budget_of of, __u32 rate)
{
	const __u64 second = 1000000000;
	__u64 now = bpf_ktime_get_ns(), most = rate * second, passed;
	struct budget *budget = bpf_map_lookup_elem(&budgets, &of);

	if (!budget)
		return false;
	passed = now - budget->last;
	budget->left += (passed < second ? passed : second) * rate;
	if (budget->left > most)
		budget->left = most;
	budget->last = now;
	if (budget->left < second)
		return false;
	budget->left -= second;
	return true;
}

#endif
