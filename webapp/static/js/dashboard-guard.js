// rq-dashboard's templates print values as they are: here every value is escaped, and every request carries the token.
(function ($) {
  "use strict";

  var template = _.template;
  var escapedAlready = /\$\('<div\/>'\)\.text\(([^()]+)\)\.html\(\)/g;

  _.templateSettings = {
    escape: /<%[-=]([\s\S]+?)%>/g,
    interpolate: /(?!)()/g, // matches nothing; the empty group keeps the count of groups
    evaluate: /<%([\s\S]+?)%>/g,
  };
  _.template = function (text, settings) {
    return template(String(text).replace(escapedAlready, "$1"), settings);
  };
  $.ajaxSetup({ headers: { "X-CSRF-Token": $("meta[name=csrf-token]").attr("content") } });

  // One press changes 10,000 jobs at most: say so where the list goes on.
  $(document).ajaxSuccess(function (event, request) {
    var told = request.responseJSON;
    if (told && told.status === "OK" && told.more) {
      $(".list-goes-on").remove();
      $("<p class='list-goes-on' role='status'>").text("Done in part: the list goes on. Press the button again.").prependTo(".container");
    }
  });
})(jQuery);
