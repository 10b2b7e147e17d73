/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains why a packet left the data path the way it did, and the one place that counts it. */
#ifndef XEPC_REASON_H
#define XEPC_REASON_H

#include "kernel.h"

/* Append only: numbers are in pinned maps and in people's dashboards. Names are read from BTF by user space. */
enum reason {
	/* forwarded */
	REASON_UPLINK_FORWARDED,
	REASON_DOWNLINK_FORWARDED,

	/* passed to the kernel */
	REASON_NOT_IPV4,        /* ARP, IPv6, LLDP: the node's own */
	REASON_NOT_OURS,        /* IPv4 to neither a slice nor a UE: the node's own */
	REASON_UNKNOWN_PORT,    /* came in by an interface that is no port */
	REASON_OUTER_FRAGMENT,  /* of a packet to a slice: the kernel reassembles */
	REASON_GTPU_SIGNALLING, /* to a slice, but no G-PDU: Echo, Error Indication, End Marker, GTP' */
	REASON_NOT_A_SLICE,     /* a G-PDU to an address that is no slice of ours */

	/* dropped */
	REASON_UNEXPECTED_VLAN, /* a tag on a port that has no VLANs */
	REASON_WRONG_SIDE,      /* GTP-U to a slice that came in from the core side */
	REASON_MALFORMED_OUTER, /* IPv4 or UDP header cut short, or lengths that do not add up */
	REASON_MALFORMED_GTPU,  /* the same of the GTP-U header and its extension headers */
	REASON_MALFORMED_INNER, /* the same of the IPv4 header inside */
	REASON_INNER_NOT_IPV4,
	REASON_UNKNOWN_TEID,        /* no such TEID in this slice; user space is told */
	REASON_NO_SESSION,          /* to an address next to our UEs', in the same /24, that no UE has */
	REASON_SOURCE_MISMATCH,     /* the UE sent with an address that is not its own */
	REASON_FAR_DROP,            /* the FAR's Apply Action is DROP */
	REASON_NO_OUTER_HEADER,     /* the FAR forwards to access without Outer Header Creation */
	REASON_GATE_CLOSED,         /* the QER's gate, TS 29.244 8.2.7 */
	REASON_MBR_EXCEEDED,        /* TS 29.244 8.2.8 */
	REASON_TTL_EXPIRED,         /* the PGW is a router: it decrements the inner TTL; nobody was told */
	REASON_TOO_BIG,             /* for the link it would leave by, outer header included; nobody was told */
	REASON_NEXT_HOP_UNRESOLVED, /* route or neighbour missing: user space is at it */
	REASON_NO_HEADROOM,         /* for the outer header, before the packet */
	REASON_PORT_GONE,           /* the next hop's interface is no port any more */

	/* answered */
	REASON_TOO_BIG_ANSWERED, /* from a network, with DF or IPv6: the sender was told by ICMP */

	/* dropped */
	REASON_NO_RULE,         /* no rule of the session matches; or a source that no rule allows */
	REASON_QUOTA_EXHAUSTED, /* a volume quota of a URR is used up, TS 29.244 8.2.50; user space is told */
	REASON_NO_RESOURCES,    /* the tables contradict themselves: a daemon's fault */

	/* handed over */
	REASON_BUFFERED,      /* the FAR's Apply Action is BUFF: the slow path has it */
	REASON_BUFFER_FULL,   /* the same, but the ring to the slow path was full; dropped */

	/* passed to the kernel */
	REASON_OUTER_EXTENSION, /* to a slice, with IPv6 extension headers: the kernel steps over them */

	/* dropped */
	REASON_NO_REDIRECT, /* the FAR redirects, but to no address of the packet's family; or to a URL what is not TCP */

	/* answered */
	REASON_TOO_BIG_TOLD_UE, /* from a UE, with DF or IPv6: it was told by ICMP, through its own tunnel */

	/* dropped */
	REASON_TOO_BIG_LIMITED, /* the sender would have been told, but this CPU has told as many in this second as it may */

	/* handed over */
	REASON_FRAGMENTED, /* does not fit: the slow path sends it in fragments */
	REASON_URL_REDIRECTED, /* the FAR redirects to a URL: the slow path has it, and answers what is HTTP */

	/* dropped */
	REASON_URL_LIMITED, /* the same, but this CPU has handed over as many in this second as it may */

	/* answered */
	REASON_TTL_EXPIRED_ANSWERED, /* from a network: the sender was told by ICMP */
	REASON_TTL_EXPIRED_TOLD_UE,  /* from a UE: it was told by ICMP, through its own tunnel */

	/* dropped */
	REASON_TTL_EXPIRED_LIMITED, /* the sender would have been told, as for REASON_TOO_BIG_LIMITED */
};

enum {
	REASON_COUNT = REASON_TTL_EXPIRED_LIMITED + 1,
};

/* GO_ON is what a step returns that did not decide. It is no reason and is never counted. */
#define GO_ON ((enum reason) - 1)

/* because stands where a packet's way ends before it leaves. Without it the compiler would set the reason before it looks
 * whether it is needed, at each of the steps that every packet takes. */
static __always_inline enum reason because(enum reason reason)
{
	asm volatile("" : "+r"(reason));
	return reason;
}

/* Packets by reason. Per CPU, and XDP programs do not preempt each other on one: no atomics. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, enum reason);
	__type(value, __u64);
	__uint(max_entries, REASON_COUNT);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} reasons SEC(".maps");

static __always_inline void count_reason(enum reason reason)
{
	__u64 *packets = bpf_map_lookup_elem(&reasons, &reason);

	if (packets)
		(*packets)++;
}

static __always_inline bool is_forwarded(enum reason reason)
{
	return reason <= REASON_DOWNLINK_FORWARDED;
}

/* is_sent: the packet, or an answer to it, goes out the way that the pipeline decided. */
static __always_inline bool is_sent(enum reason reason)
{
	return is_forwarded(reason) || reason == REASON_TOO_BIG_ANSWERED || reason == REASON_TOO_BIG_TOLD_UE ||
	       reason == REASON_TTL_EXPIRED_ANSWERED || reason == REASON_TTL_EXPIRED_TOLD_UE;
}

/* The verdict of every other reason: what the node's kernel may still want, or nothing. */
static __always_inline enum xdp_action verdict_of(enum reason reason)
{
	switch (reason) {
	case REASON_NOT_IPV4:
	case REASON_NOT_OURS:
	case REASON_UNKNOWN_PORT:
	case REASON_OUTER_FRAGMENT:
	case REASON_GTPU_SIGNALLING:
	case REASON_NOT_A_SLICE:
	case REASON_OUTER_EXTENSION:
		return XDP_PASS;
	default:
		return XDP_DROP;
	}
}

#endif
