/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <seccomp.h>
#include <string.h>

#include "core/confine.h"

int confine_calls(const struct confine_calls *filter, struct err *err)
{
	uint32_t refusal = SCMP_ACT_ERRNO(EPERM);
	uint32_t listed = filter->refused ? refusal : SCMP_ACT_ALLOW;
	scmp_filter_ctx context = seccomp_init(filter->refused ? SCMP_ACT_ALLOW : refusal);
	int result = context ? 0 : -ENOMEM;

	for (unsigned i = 0; result == 0 && i < filter->count; i++)
		result = seccomp_rule_add(context, listed, filter->calls[i], 0);
	if (result == 0 && filter->socket_family)
		result =
		    seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)filter->socket_family));
	if (result == 0)
		result = seccomp_load(context);
	seccomp_release(context);
	return result < 0 ? err_set(err, result, "seccomp: %s", strerror(-result)) : 0;
}
