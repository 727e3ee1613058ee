/* What farmgate's media need of iPXE, and what they are better off without.
 *
 * iPXE reads this after its own config/general.h, for every platform. The BIOS
 * build leaves most of it out unless told otherwise.
 */

#define DOWNLOAD_PROTO_HTTPS	/* the boot host is asked by HTTPS only */
#undef DOWNLOAD_PROTO_FTP
#undef DOWNLOAD_PROTO_SLAM
#undef DOWNLOAD_PROTO_NFS

#define NTP_CMD			/* the clock decides whether a certificate is valid */
#define REBOOT_CMD		/* the media start anew rather than give up */
#define IFMGMT_CMD		/* one network card after the other */
#define CERT_CMD		/* certstat, for a look at what was sealed */
#define IMAGE_TRUST_CMD		/* imgtrust, imgverify: for boot scripts */
#define DIGEST_CMD		/* sha256sum, for boot scripts */
#define PARAM_CMD		/* POST from boot scripts */
#define CONSOLE_CMD
#define PING_CMD
#define NSLOOKUP_CMD
#define IPSTAT_CMD

#undef SANBOOT_PROTO_ISCSI	/* nothing is booted over these */
#undef SANBOOT_PROTO_AOE
#undef SANBOOT_PROTO_IB_SRP
#undef SANBOOT_PROTO_FCP
