# A file that has to be there. A path literal is looked at while evaluating, so that the message names
# the option; what a derivation is yet to make is not.
{ lib }:

lib.types.addCheck lib.types.path (value: !builtins.isPath value || builtins.pathExists value)
// {
  description = "path of a file that exists (in a flake: one that was added to git)";
}
