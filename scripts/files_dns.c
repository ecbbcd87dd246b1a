/* Linked into the static binary (scripts/build.sh). The agent looks names up by itself (src/resolve); the crate of
   the legacy output has the C library do it, for the names that brokers give each other. Whatever nsswitch.conf
   says, that must load no module of the host's other C library: these two services are part of glibc. */
extern int __nss_configure_lookup(const char *database, const char *services);

__attribute__((constructor)) static void files_dns(void) {
    __nss_configure_lookup("hosts", "files dns");
}
