/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the way out of a packet: without tunnel, or with the outer header that its peer gets. */
#ifndef XEPC_SEND_H
#define XEPC_SEND_H

#include "gtpu.h"
#include "job.h"
#include "nexthop.h"

/* Tests set it: the octets that adjust_head brings are then 0xff, as a driver may well leave them, so that an octet
 * that nobody writes shows. The test runner of the kernel would clear them. */
volatile const bool poison_headroom;

/* trim cuts what follows the IP packet: Ethernet padding would end up inside the tunnel, or behind the packet that
 * was in it. */
static __always_inline bool trim(struct xdp_md *ctx, __u32 excess)
{
	return likely(!excess) || bpf_xdp_adjust_tail(ctx, -(int)excess) == 0;
}

static __always_inline __be16 ethertype_of(const struct job *job)
{
	return job->family == FILTER_IPV4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
}

/* send_plain leaves Ethernet and the inner packet. */
static __always_inline enum reason send_plain(struct cursor *c, struct job *job, const struct hop *hop)
{
	if (bpf_xdp_adjust_head(c->ctx, (int)job->offset - (int)link_length(hop)))
		return because(REASON_NO_HEADROOM);
	*c = cursor_of(c->ctx);
	return write_link(c, hop, ethertype_of(job)) ? leave(c->ctx, job, hop) : REASON_NO_HEADROOM;
}

static __always_inline bool write_outer_header(struct cursor *c, const struct peer *peer, const struct job *job,
					       __u32 packets)
{
	struct gtpu_container *container;
	struct outer_header6 *outer6;
	struct outer_header *outer;

	if (likely(peer->remote)) {
		outer = take(c, sizeof(*outer));
		if (!outer)
			return false;
		if (poison_headroom)
			__builtin_memset(outer, 0xff, sizeof(*outer));
		/* The identification rises by one with each packet of a session and begins elsewhere for each, so that
		 * fragments of two packets are seldom taken for one. */
		write_outer(outer, peer, job->at.word.value, job->octets,
			    packets + bpf_ntohl(job->at.word.value) * 40503);
	} else {
		outer6 = take(c, sizeof(*outer6));
		if (!outer6)
			return false;
		if (poison_headroom)
			__builtin_memset(outer6, 0xff, sizeof(*outer6));
		write_outer6(outer6, peer, job->at.word.value, job->octets);
	}
	if (likely(peer->qfi == NO_QFI))
		return true;
	container = take(c, sizeof(*container));
	if (container)
		write_container(container, peer->qfi);
	return container;
}

/* send_tunnelled puts the outer header before the inner packet. */
static __always_inline enum reason send_tunnelled(struct cursor *c, struct job *job, const struct peer *peer,
						  const struct hop *hop, __u32 packets)
{
	__be16 proto = peer->remote ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);

	if (bpf_xdp_adjust_head(c->ctx, (int)job->offset - (int)(link_length(hop) + peer->outer)))
		return because(REASON_NO_HEADROOM);
	*c = cursor_of(c->ctx);
	if (!write_link(c, hop, proto) || !write_outer_header(c, peer, job, packets))
		return because(REASON_NO_HEADROOM);
	if (unlikely(!peer->remote && !zero_checksum_ipv6))
		finish_udp6(c->ctx, link_length(hop) + sizeof(struct ipv6hdr), peer->checksum);
	return leave(c->ctx, job, hop);
}

#endif
