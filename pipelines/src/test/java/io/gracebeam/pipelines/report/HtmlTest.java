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
  void pageKeepsForeignTextInert() {
    ObjectNode report = new ObjectMapper().createObjectNode();
    report.put("name", "<script>alert(1)</script>");
    report.putArray("ledger").addObject().put("id", "<img src=x onerror=alert(1)>");
    String page = ReportPage.render(report);
    assertThat(page).doesNotContain("<script").doesNotContain("<img src=x");
    assertThat(page).contains("&lt;script&gt;alert(1)&lt;/script&gt;").doesNotContain("http://");
  }
}
