//! The program farmgate-agent: process 1 of a gateway.

fn main() {
    farmgate::agent::main();
}
