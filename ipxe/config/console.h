/* A gateway is looked at by serial line, if at all. */
#define CONSOLE_SERIAL
