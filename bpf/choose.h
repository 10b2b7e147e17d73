/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains how the rule is found that takes a packet, and whether it lets it through at all. */
#ifndef XEPC_CHOOSE_H
#define XEPC_CHOOSE_H

#include "job.h"
#include "parse.h"
#include "reason.h"
#include "rules.h"

/* choose_of_set finds the rule of a set that takes the packet. */
__noinline int choose_of_set(struct xdp_md *ctx, struct job *job)
{
	struct cursor c = cursor_of(ctx);
	struct facts f = {};
	struct rule *rule;

	if (!job)
		return REASON_NO_RESOURCES;
	f.direction = job->direction;
	f.traits = job->qfi << TRAIT_QFI_SHIFT;
	c.pos += job->offset & MAX_OFFSET;
	if (!(job->family == FILTER_IPV4 ? learn_ipv4(&f, &c) : learn_ipv6(&f, &c)))
		return REASON_MALFORMED_INNER;
	job->rule = match(&f, job->at.word.value, job->at.word.to);
	if (!job->rule)
		return REASON_NO_RULE;
	rule = rule_of(job);
	if (!rule)
		return REASON_NO_RESOURCES;
	job->at.whole = *(__u64 *)&rule->word;
	return check_flags(job->at.word.flags);
}

/* choose settles which rule takes the packet, and whether it lets it through at all. */
static __always_inline enum reason choose_ipv4(struct xdp_md *ctx, struct job *job, const struct iphdr *ip)
{
	__u32 flags = job->at.word.flags;

	job->family = FILTER_IPV4;
	if (unlikely(flags & ENTRY_SET))
		return choose_of_set(ctx, job);
	if (job->direction == UPLINK && flags & ENTRY_CHECK_SOURCE && ip->saddr != job->at.word.value)
		return because(REASON_SOURCE_MISMATCH);
	return check_flags(flags);
}

static __always_inline enum reason choose_ipv6(struct xdp_md *ctx, struct job *job, const struct entry *entry,
						const struct ipv6hdr *ip)
{
	__u32 flags = job->at.word.flags;
	__be64 prefix;

	job->family = FILTER_IPV6;
	if (unlikely(flags & ENTRY_SET))
		return choose_of_set(ctx, job);
	__builtin_memcpy(&prefix, &ip->saddr, sizeof(prefix));
	if (job->direction == UPLINK && flags & ENTRY_CHECK_SOURCE && (!prefix || prefix != entry->prefix))
		return because(REASON_SOURCE_MISMATCH);
	return check_flags(flags);
}

#endif
