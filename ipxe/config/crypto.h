/* A farm's own CA has no OCSP responder to ask; the server refuses what was
 * revoked. */
#undef OCSP_CHECK
