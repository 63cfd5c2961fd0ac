/* SPDX-License-Identifier: Apache-2.0 */
/* tls_rekey PORT COUNT: a client that goes over to TLS (RFC 9289) at 127.0.0.1:PORT and then asks
 * for new keys (KeyUpdate with update_requested, RFC 8446 4.6.3) up to COUNT times, without
 * reading any of the answers. Says how often it could: "CUT OFF AT N", or "ALL OF THEM". */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void must(int good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "tls_rekey: %s\n", what);
	exit(1);
}

static int connected(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 4096;
	int segment = 536,
	    on = 1; /* so that the server's kernel takes little of what is not read */

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) == 0 &&
		 setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment)) == 0 &&
		 setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
		 connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0,
	     "no connection");
	return fd;
}

/* NULL of NFSv4 with AUTH_TLS. */
static void ask(int fd)
{
	static const uint32_t call[] = {0x80000028, 1, 0, 2, 100003, 4, 0, 7, 0, 0, 0};
	uint32_t wire[sizeof(call) / sizeof(call[0])];
	uint8_t reply[36];

	for (size_t i = 0; i < sizeof(call) / sizeof(call[0]); i++)
		wire[i] = htonl(call[i]);
	must(send(fd, wire, sizeof(wire), 0) == (ssize_t)sizeof(wire) &&
		 recv(fd, reply, sizeof(reply), MSG_WAITALL) == (ssize_t)sizeof(reply) &&
		 memcmp(reply + 24, "STARTTLS", 8) == 0,
	     "no STARTTLS");
}

static SSL *shaken(int fd)
{
	static const unsigned char alpn[] = "\x06sunrpc";
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = context ? SSL_new(context) : NULL;

	must(ssl && SSL_set_alpn_protos(ssl, alpn, sizeof(alpn) - 1) == 0 && SSL_set_fd(ssl, fd) &&
		 SSL_connect(ssl) == 1,
	     "no handshake");
	SSL_CTX_free(context);
	return ssl;
}

int main(int argc, char **argv)
{
	unsigned long count, done = 0;
	SSL *ssl;
	int fd;

	must(argc == 3, "PORT and COUNT are wanted");
	signal(SIGPIPE, SIG_IGN);
	fd = connected((uint16_t)strtoul(argv[1], NULL, 10));
	count = strtoul(argv[2], NULL, 10);
	ask(fd);
	ssl = shaken(fd);
	while (done < count && SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1 &&
	       SSL_do_handshake(ssl) == 1)
		done++;
	if (done < count)
		printf("CUT OFF AT %lu\n", done);
	else
		printf("ALL OF THEM\n");
	SSL_free(ssl);
	close(fd);
	return 0;
}
