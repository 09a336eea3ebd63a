"""The C file of the scanner alone: every function, on inputs of exact size, without memory, too.

`fuzz_scanner.c` is what tries them. The tests run it on some inputs; `make fuzz` lets libFuzzer
make more of these, with AddressSanitizer and UBSan watching.
"""
