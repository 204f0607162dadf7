#include "tools/report/page_style.hpp"

#include "tools/report/palette.hpp"

namespace asterias::tools::report {
namespace {

constexpr const char* kLayout = R"(
:root{color-scheme:light dark;--page:#f6f7f8;--card:#ffffff;--quiet:#5b6470;--grid:#e3e6ea;--axis:#9aa3ad;--lane:#eef0f3}
@media (prefers-color-scheme:dark){:root{--page:#0f1113;--card:#181b1f;--quiet:#a3acb8;--grid:#2b3036;--axis:#69727d;--lane:#22262b}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1200px;padding:20px 20px 60px;background:var(--page);color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:24px;line-height:1.25;margin:0 0 4px}h2{font-size:18px;margin:34px 0 10px}h3{font-size:15px;margin:0}
p{margin:0}
.path{color:var(--quiet);overflow-wrap:anywhere}
.failure{margin:6px 0;white-space:pre-wrap;overflow-wrap:anywhere}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,210px),1fr));gap:10px 20px;margin:18px 0}
.facts dt{color:var(--quiet);font-size:13px}.facts dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
.notes{margin:14px 0;padding:10px 14px 10px 32px;background:var(--card);border-left:4px solid var(--activations);border-radius:4px;
  overflow-wrap:anywhere}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;white-space:nowrap}
th,td{padding:5px 14px;text-align:right;border-bottom:1px solid var(--grid)}
th:first-child{text-align:left;padding-left:0}thead th{color:var(--quiet);font-weight:400;font-size:13px}
tbody th{font-weight:400}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr));gap:16px}
figure{margin:0;padding:14px 16px;background:var(--card);border-radius:8px;min-width:0;display:flex;flex-direction:column}
.wide{grid-column:1/-1}
figcaption p,.missing p{color:var(--quiet);font-size:13px;margin-bottom:8px}
figure svg{display:block}
figure>svg{width:100%;height:auto;margin-top:auto}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 14px;margin:0 0 6px;padding:0;font-size:13px}
.legend li{display:flex;align-items:center;gap:6px}.legend svg{width:12px;height:12px;flex:none}
.lanes{display:flex;min-width:0}.names{flex:none}.scrolled{overflow-x:auto;min-width:0}
svg text{font-size:12px;fill:var(--ink);font-variant-numeric:tabular-nums}
svg .quiet{fill:var(--quiet)}
.grid{stroke:var(--grid);stroke-width:1}.axis{stroke:var(--axis);stroke-width:1}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.span{fill:none;stroke-width:2.5;opacity:.25}
.area{stroke:var(--card);stroke-width:.6}
.limit{stroke-width:1.5;stroke-dasharray:6 4;fill:none}
svg .on-limit{fill:var(--limit);paint-order:stroke;stroke:var(--card);stroke-width:3px}
.lane{fill:var(--lane)}
.hover{fill:transparent}.hover:hover{fill:var(--ink);fill-opacity:.1}
pre{margin:0;padding:14px 16px;background:var(--card);border-radius:8px;overflow-x:auto;font:13px/1.45 ui-monospace,Menlo,Consolas,monospace}
details summary{cursor:pointer;font-size:18px;font-weight:600;margin:34px 0 10px}
.defs{position:absolute;width:0;height:0}
@media (max-width:560px){body{padding:14px 12px 40px}figure{padding:12px 10px}h1{font-size:20px}figure>svg text{font-size:15px}
  .facts{grid-template-columns:repeat(auto-fill,minmax(150px,1fr))}table{white-space:normal}th,td{padding:5px 6px}}
@media print{body{background:none}figure{break-inside:avoid}}
)";

}  // namespace

std::string page_style() { return kLayout + palette_css(); }

}  // namespace asterias::tools::report
