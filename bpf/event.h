/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains what user space is told of. Events are hints: a full ring loses them, the reason still counts. */
#ifndef XEPC_EVENT_H
#define XEPC_EVENT_H

#include "reason.h"

struct event {
	enum reason reason;
	__be32 teid;
	__be32 remote; /* outer source */
	__be32 local;  /* outer destination */
	__be16 remote_port;
	__u8 pad[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} events SEC(".maps");

static __noinline int send_event(enum reason reason, __be32 teid, __be32 remote, __be32 local, __be16 remote_port)
{
	struct event event = {
		.reason = reason,
		.teid = teid,
		.remote = remote,
		.local = local,
		.remote_port = remote_port,
	};

	return bpf_ringbuf_output(&events, &event, sizeof(event), 0);
}

#endif
