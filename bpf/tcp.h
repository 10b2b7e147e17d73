/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the clamping of the TCP maximum segment size, RFC 9293 3.7.1: what the tunnel cannot carry is not
 * offered to either end. */
#ifndef XEPC_TCP_H
#define XEPC_TCP_H

#include "parse.h"

/* By family; 0: not clamped. */
volatile const __u16 clamp_ipv4;
volatile const __u16 clamp_ipv6;

#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_MSS 2

#define TCP_FLAGS 13 /* octet of them */
#define TCP_FLAG_SYN 0x02

/* clamp lowers the MSS option of a SYN whose TCP header is at that offset. */
__noinline int clamp(struct xdp_md *ctx, __u32 offset, __u32 most)
{
	struct cursor c = cursor_of(ctx);
	struct tcphdr *tcp;
	__u32 left;

	if (offset > 1 << 13)
		return 0;
	c.pos += offset;
	tcp = take(&c, sizeof(*tcp));
	if (!tcp || tcp->doff < 5)
		return 0;
	left = (tcp->doff - 5) * 4;
	for (int i = 0; i < 12 && left >= 2; i++) {
		__u8 *option = take(&c, 1), *length;
		__be16 *mss;
		__u32 now, sum;

		if (!option || *option == TCP_OPTION_END)
			return 0;
		if (*option == TCP_OPTION_NOP) {
			left--;
			continue;
		}
		length = take(&c, 1);
		if (!length || *length < 2 || *length > left)
			return 0;
		if (*option != TCP_OPTION_MSS) {
			left -= *length;
			if (!take(&c, bounded(*length - 2, 0xff)))
				return 0;
			continue;
		}
		mss = take(&c, sizeof(*mss));
		if (!mss || *length != 4)
			return 0;
		now = (__u8)((__u8 *)mss)[0] << 8 | ((__u8 *)mss)[1];
		if (now <= most)
			return 0;
		/* RFC 1624. An option at an odd offset has its octets the other way round in the sum. */
		sum = (__u16)~tcp->check;
		if ((*tcp).doff && ((void *)mss - (void *)tcp) & 1)
			sum += (__u16)~(__u16)now + (__u16)most;
		else
			sum += (__u16)~bpf_htons(now) + bpf_htons(most);
		sum = (sum & 0xffff) + (sum >> 16);
		sum = (sum & 0xffff) + (sum >> 16);
		tcp->check = ~sum;
		((__u8 *)mss)[0] = most >> 8;
		((__u8 *)mss)[1] = most;
		return 1;
	}
	return 0;
}

#endif
