"""Invented lines that the scanner must read, lines that it must decline, and some of both."""

from __future__ import annotations

READ = [
    b'{"reward":[],"prompt":[{"role":"","content":""}]}',
    b'{"reward":[{"score":1.0},0.5,true,null,{}],"prompt":"a"}',
    b' {"reward" : [ { "score" : -1e-3 } ] , "prompt" : [ { "role" : "user" } ] }\r',
    b'{"prompt":"","messages":[{"role":"user","content":"\\u00e9\\ud83d\\ude00"},'
    b'{"role":"assistant","content":"no prompt"}],"reward":[]}',
    b'{"prompt":"a","messages":3,"other":"\xff","responses":["\xed"],"reward":[1]}',
    b'{"reward":[1],"a":' + b"[" * 199 + b"]" * 199 + b"}",
    b'{"reward":[1],"prompt":[{"role":"assistant","content":null,"tool_calls":[ {"\\u0061" : '
    b'"\xff"} ]},{"tool_calls":[ ]},{"content":"a","tool_calls":{"a":1},"role":"tool"}]}',
    b'{"reward":[1],"prompt":[],"messages":[{"role":"user","content":"a","tool_calls":[1]},'
    b'{"role":"assistant","tool_calls":[2]}]}',
    b'{"reward":[{"score":1,"other":2}],"a":{"b":1,"b":1,"\\u0062":2,"\\ud83d\\ude00":3}}',
]

DECLINED = [
    b"",
    b'{"prompt":"a"}',
    b'{"reward":null}',
    b'{"reward":["1"]}',
    b'{"reward":[NaN]}',
    b'{"reward":[1e400]}',
    b'{"reward":[12345678901234567890]}',
    b'{"reward":[1],"reward":[1]}',
    b'{"reward":[{"score":1,"score":1}]}',
    b'{"reward":[{"\\u0073core":1}]}',
    b'{"\\u0072eward":[1]}',
    b'{"reward":[1],"\\u0070rompt":"a"}',
    b'{"reward":[1],"\\u006dessages":"a"}',
    b'{"reward":[1],"prompt":[{"role":"user","\\u0063ontent":"a"}]}',
    b'{"reward":[1],"prompt":[{"role":"\\u0075ser","content":"a"}]}',
    b'{"reward":[1],"prompt":"a","prompt":"b"}',
    b'{"reward":[1],"messages":"a","messages":"b"}',
    b'{"reward":[1],"prompt":[{"role":"user","content":"a","content":"b"}]}',
    b'{"reward":[1],"prompt":[{"role":"user","role":"system","content":"a"}]}',
    b'{"reward":[1],"prompt":[{"role":"user","tool_calls":[1],"tool_calls":[2]}]}',
    b'{"reward":[1],"prompt":[{"role":"user","tool_calls":["\\ud800"]}]}',
    b'{"reward":[1],"prompt":"\\ud800"}',
    b'{"reward":[1],"other":["\\ud800\\ud800\\udc00"]}',
    b'{"reward":[1],"other":"\xff","another":"\\udc00"}',
    b'{"reward":[1],"prompt":"\xff"}',
    b'{"reward":[1],"prompt":5}',
    b'{"reward":[1],"prompt":[{"role":"user","content":["a"]}]}',
    b'{"reward":[1],"a":"\x01"}',
    b'{"reward":[1],"a":01}',
    b'{"reward":[1],"prompt":[{"content":"a","b":' + b"1" * 5000 + b"}]}",
    b'{"reward":[1]\x0c}',
    b'{"reward":[1\x0b]}',
    b'{"reward":[1],\xc2\xa0"a":1}',
    b'{"reward":[1]} x',
    b'{"reward":[1]}\0',
    b'\xef\xbb\xbf{"reward":[1]}',
    b'{"reward":[1],"a":' + b"[" * 200 + b"]" * 200 + b"}",
    b'{"reward":[1],"a":' + b"[" * 3000,
]

MIXED = b"\n".join([
    b'{"reward":[1,{"score":0.25}],"prompt":"a"}', b"", b'{"reward":[NaN],"prompt":"\\ud800"}',
    b'{"reward":["1"]}', b'{"prompt":[{"role":"user","content":"\\n"}],"reward":[]}\r', b"{",
    b'{"reward":[1],"other":"' + b"x" * 130 + b'"}', b'{"messages":"m","reward":[{}]}',
])  # fmt: skip
