package io.gracebeam.pipelines.report;

/**
 * The page's style sheet: light or dark as the reader's system is, readable on paper and on a
 * phone.
 */
final class ReportStyle {
  private ReportStyle() {}

  static final String CSS =
      """
      :root{color-scheme:light dark;--ink:#1b1f24;--dim:#5d6673;--rule:#dfe3e8;--paper:#fbfbfa;--card:#fff;--own:#b4371f;--top:#2f6f4f;--soft:#f6e9e5}
      @media(prefers-color-scheme:dark){:root{--ink:#e7e9ec;--dim:#98a2af;--rule:#2d333b;--paper:#14171b;--card:#1b1f24;--own:#f0805f;--top:#6cc398;--soft:#33231e}}
      *{box-sizing:border-box}
      body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
      main{max-width:1040px;margin:0 auto;padding:40px 20px 80px}
      header{border-bottom:2px solid var(--ink);margin-bottom:28px;padding-bottom:18px}
      .kicker{margin:0;color:var(--own);font-weight:600;letter-spacing:.08em;text-transform:uppercase;font-size:13px}
      h1{margin:.1em 0 .2em;font-size:40px;line-height:1.1;letter-spacing:-.02em;overflow-wrap:anywhere}
      .headline{font-size:20px;max-width:46em;margin:.6em 0 0}
      section{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:22px 24px;margin:0 0 20px}
      h2{margin:0 0 .3em;font-size:21px}h3{margin:22px 0 4px;font-size:15px;color:var(--dim);font-weight:600}
      .lead,.none{color:var(--dim);margin:.1em 0 1em;max-width:60em}
      .curves{display:grid;grid-template-columns:repeat(auto-fit,minmax(430px,1fr));gap:0 24px}
      .scroll{overflow-x:auto}
      table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14.5px}
      th,td{text-align:right;padding:6px 10px;border-bottom:1px solid var(--rule);white-space:nowrap}
      th:first-child,td:first-child{text-align:left}thead th{color:var(--dim);font-weight:600;font-size:13px}
      tbody th{font-weight:600}tr.own{background:var(--soft)}
      td small{color:var(--dim)}td.up{color:var(--top)}td.down{color:var(--own)}
      svg{width:100%;height:auto;display:block}svg text{fill:var(--dim);font-size:12px;font-family:inherit}
      .grid{stroke:var(--rule);stroke-width:1}.iv .bar{stroke-width:3;stroke-linecap:round}
      .iv.own{stroke:var(--own);fill:var(--own)}.iv.top{stroke:var(--top);fill:var(--top)}.iv.other{stroke:var(--dim);fill:var(--dim)}
      polyline{fill:none;stroke-width:1.8;stroke-linejoin:round}
      .legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;color:var(--dim)}
      .legend i{display:inline-block;width:14px;height:3px;margin-right:6px;vertical-align:middle;border-radius:2px}
      polyline.c0{stroke:#b4371f}polyline.c1{stroke:#3b6fb6}polyline.c2{stroke:#2f8f5b}polyline.c3{stroke:#a9760d}
      polyline.c4{stroke:#7c56b5}polyline.c5{stroke:#18929b}polyline.c6{stroke:#c25690}polyline.c7{stroke:#78828f}
      i.c0{background:#b4371f}i.c1{background:#3b6fb6}i.c2{background:#2f8f5b}i.c3{background:#a9760d}
      i.c4{background:#7c56b5}i.c5{background:#18929b}i.c6{background:#c25690}i.c7{background:#78828f}
      rect.c0{fill:#3b6fb6}
      .facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:0 18px;margin:10px 0 16px}
      .facts dt{color:var(--dim);font-size:13px;grid-row:1}.facts dd{margin:0;font-size:20px;font-weight:600;grid-row:2;font-variant-numeric:tabular-nums}
      .maps{display:flex;flex-wrap:wrap;gap:16px}figure{margin:0;flex:1 1 180px;max-width:240px}
      figure img{width:100%;aspect-ratio:1;image-rendering:pixelated;border:1px solid var(--rule);border-radius:6px}
      figcaption{font-size:13px;color:var(--dim);text-align:center}
      details summary{cursor:pointer;color:var(--dim)}pre{overflow-x:auto;font-size:13px;line-height:1.45}
      code{font-size:13px}
      @media print{section{break-inside:avoid}body{background:#fff}}
      """;
}
