// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The style of the page of `lora report --html`, light and dark, for wide and narrow windows and for paper.

namespace cli {

inline constexpr const char* page_style = R"css(
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#16202b;--soft:#51606f;--line:#d7dde4;--accent:#0b5cad;--bar:#2f6fb5;--mark:#a8450b;
--p1:#fde9d9;--p2:#fbcda4;--p3:#ec8f4b;--p4:#a1420a;--n1:#e1ecf8;--n2:#b3d0ee;--n3:#6ea3da;--n4:#1d4c89;--strong-ink:#fff;--mid-ink:#16202b;--weak-ink:#16202b}
@media(prefers-color-scheme:dark){:root{--page:#11161c;--card:#1a2129;--ink:#e8edf2;--soft:#a5b2bf;--line:#344150;--accent:#7db8f5;--bar:#6ea8e6;--mark:#f7a35c;
--p1:#3a2a1e;--p2:#6d4322;--p3:#cc7430;--p4:#fbb67c;--n1:#1e2c3e;--n2:#28507f;--n3:#669fdb;--n4:#a9d0f8;--strong-ink:#11161c;--mid-ink:#11161c;--weak-ink:#e8edf2}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;overflow-wrap:anywhere}
main,header,footer{max-width:66rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.5rem}
h1{font-size:1.1rem;font-weight:600;color:var(--soft);margin:0}
h2{font-size:1.25rem;line-height:1.3;margin:0 0 .25rem}
h3{font-size:1rem;margin:0 0 .5rem}
p{margin:.25rem 0 .75rem}
.lead{font-size:clamp(1.3rem,1rem + 1.5vw,1.9rem);line-height:1.3;font-weight:650;margin:.5rem 0}
.soft,figcaption,caption{color:var(--soft);font-size:.9rem}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1rem;list-style:none;margin:.5rem 0 0;padding:0}
nav a{display:inline-block;padding:.35rem 0}
a{color:var(--accent)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:3px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1.1rem;margin:1rem 0;scroll-margin-top:1rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(12rem,1fr));gap:.75rem;margin:1rem 0;padding:0}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.75rem 1rem}
.tiles dt{color:var(--soft);font-size:.9rem}
.tiles dd{margin:0;font-size:1.5rem;font-weight:650;font-variant-numeric:tabular-nums}
.tiles dd small{display:block;font-size:.85rem;font-weight:400;color:var(--soft)}
.figures{display:flex;flex-wrap:wrap;gap:1.5rem}
figure{margin:0;max-width:100%}figcaption{max-width:28rem}
.scroll{overflow:auto;max-width:100%;max-height:47rem}
svg{display:block}
svg text{font:13px system-ui,sans-serif;fill:var(--ink);font-variant-numeric:tabular-nums;unicode-bidi:isolate}
svg .grid{fill:none;stroke:var(--line)}
svg .self{fill:var(--line);opacity:.5}
.curve{width:100%;max-width:40rem;height:auto}.curve .line{fill:none;stroke:var(--bar);stroke-width:2.5}.curve .limit{fill:none;stroke:var(--mark);stroke-dasharray:6 5}.curve circle{fill:var(--bar)}
.bar{width:100%;height:14px}
.bar rect{fill:var(--bar)}.bar .track{fill:var(--line);opacity:.45}.bar path{fill:var(--mark)}
table{border-collapse:separate;border-spacing:0;font-size:.9rem;overflow-wrap:normal;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--line);vertical-align:middle}
th{font-weight:600}caption{text-align:left}
th:first-child,td:first-child{text-align:left}
thead th{position:sticky;top:0;background:var(--card);z-index:1;vertical-align:bottom}
tbody th{position:sticky;left:0;background:var(--card);font-weight:400;min-width:9rem;max-width:22rem;overflow-wrap:anywhere}
thead th:first-child{left:0;z-index:2}
.heat td{min-width:4.5rem;border-left:2px solid var(--card)}
.heat thead th{max-width:9rem;font-weight:500}
.sizes{width:100%}.sizes .drawn,.sizes th:nth-child(2){width:38%;min-width:7rem;text-align:left}
.p1{background:var(--p1);fill:var(--p1);color:var(--weak-ink)}.p2{background:var(--p2);fill:var(--p2);color:var(--weak-ink)}
.p3{background:var(--p3);fill:var(--p3);color:var(--mid-ink)}.p4{background:var(--p4);fill:var(--p4);color:var(--strong-ink)}
.n1{background:var(--n1);fill:var(--n1);color:var(--weak-ink)}.n2{background:var(--n2);fill:var(--n2);color:var(--weak-ink)}
.n3{background:var(--n3);fill:var(--n3);color:var(--mid-ink)}.n4{background:var(--n4);fill:var(--n4);color:var(--strong-ink)}
.z{fill:transparent}.more{fill:var(--p4)}.less{fill:var(--n4)}
svg text.p1,svg text.p2,svg text.n1,svg text.n2{fill:var(--weak-ink);background:none}
svg text.p3,svg text.n3{fill:var(--mid-ink);background:none}svg text.p4,svg text.n4{fill:var(--strong-ink);background:none}svg text.z{fill:var(--ink)}
.key{display:flex;flex-wrap:wrap;gap:.15rem;list-style:none;padding:0;margin:.5rem 0;font-size:.8rem}
.key li{padding:.1rem .5rem;border:1px solid var(--line)}
details{margin-top:.75rem}
summary{cursor:pointer;padding:.35rem 0;color:var(--accent)}
footer{padding-bottom:2rem}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:.5rem;background:var(--card);padding:.5rem;z-index:9}
@media(max-width:40rem){section{padding:.9rem .75rem}tbody th{min-width:7rem;max-width:9rem}th,td{padding:.3rem .4rem}.tiles{grid-template-columns:1fr}}
@media print{.scroll{max-height:none;overflow:visible}section{break-inside:avoid}}
)css";

}  // namespace cli
