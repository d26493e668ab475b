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

  // One press changes 10,000 jobs at most: say so where the list goes on, and where nothing or not all was done.
  function say(text) {
    $(".list-goes-on").remove();
    if (text) $("<p class='list-goes-on' role='status'>").text(text).prependTo(".container");
  }
  $(document).ajaxSuccess(function (event, request, sent) {
    if (sent.type !== "POST") return;
    var told = request.responseJSON;
    say(told && told.more && "Done in part: the list goes on. Press the button again.");
  });
  $(document).ajaxError(function (event, request, sent) {
    if (sent.type !== "POST") return;
    var told = request.responseJSON;
    say("It was not done, or not to its end. " + ((told && told.detail) || "The server did not answer."));
  });
})(jQuery);
