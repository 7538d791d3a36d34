package io.gracebeam.pipelines.report;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.junit.jupiter.api.Test;

class HtmlTest {
  @Test
  void escapesMarkup() {
    assertThat(Html.escape("<a href='x'>\"&\"</a>"))
        .isEqualTo("&lt;a href=&#39;x&#39;&gt;&quot;&amp;&quot;&lt;/a&gt;");
  }

  @Test
  void similarityMapsStandBesideThePhoto() {
    ObjectNode report = new ObjectMapper().createObjectNode();
    ObjectNode gram = report.putObject("gram").put("photo", "data:image/png;base64,QQ==");
    ObjectNode map = gram.putArray("maps").addObject();
    map.put("name", "grace-int4").put("bits", 4).put("tokens", 4).put("n", 2);
    map.put("alignment", 0.87654).putArray("values").add(1).add(-1).add(-1).add(1);
    assertThat(ReportPage.render(report))
        .contains("src=\"data:image/png;base64,QQ==\"")
        .contains(
            "<figcaption>grace-int4, 4 bit, alignment with the teacher 0.877, 4 tokens in means<")
        .contains("alt=\"Gram matrix\" src=\"data:image/png;base64,");
    gram.putArray("maps");
    assertThat(ReportPage.render(report)).doesNotContain("<figure>");
  }

  @Test
  void layoutsStandBesideTheirSibling() {
    ObjectNode report = new ObjectMapper().createObjectNode();
    ObjectNode row = report.putArray("table").addObject();
    row.put("variant", "grace-int4-all8").put("bits", 4).put("benchmark", "all");
    row.put("accuracy", 0.5).put("low", 0.4).put("high", 0.6).put("sibling", "grace-int4");
    row.put("siblingDifference", -0.01).put("siblingDifferenceLow", -0.03);
    row.put("siblingDifferenceHigh", 0.02);
    assertThat(ReportPage.render(report)).contains("vs. grace-int4: -1.0, -3.0 to +2.0");
  }

  @Test
  void pageKeepsForeignTextInert() {
    ObjectNode report = new ObjectMapper().createObjectNode();
    report.put("name", "<script>alert(1)</script>");
    report.putArray("ledger").addObject().put("id", "<img src=x onerror=alert(1)>");
    String page = ReportPage.render(report);
    assertThat(page).doesNotContain("<script").doesNotContain("<img src=x");
    assertThat(page).contains("&lt;script&gt;alert(1)&lt;/script&gt;").doesNotContain("http://");
  }
}
