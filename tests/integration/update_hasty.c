/* SPDX-License-Identifier: Apache-2.0 */
/* granary-update of the release in tests/appliance/schema_test.py: it waits a short time for a
 * daemon that never serves, and not four minutes at each of three starts; all else of it is as it
 * is. */
#define HEALTH_LIMIT 20

#include "appliance/update.c" /* NOLINT(bugprone-suspicious-include) */
