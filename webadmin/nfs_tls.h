/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_NFS_TLS_H
#define WEBADMIN_NFS_TLS_H

#include <stdbool.h>
#include <stdint.h>

struct webadmin;

/* Inside webadmin/: key and certificate of NFS over TLS (nfs-tls.pem of the state directory), and
 * by what clients are checked (nfs-tls-clients.pem). The first start makes a pair. */

/* nfs_tls_open: in force from now on. What is wrong with it is logged: NFS goes on without TLS. */
void nfs_tls_open(struct webadmin *admin);
/* When the certificate expires, seconds since 1970; 0: not known. */
int64_t nfs_tls_expires(const struct webadmin *admin);
/* Is there anything to check clients' certificates with? */
bool nfs_tls_believes(const struct webadmin *admin);

#endif
