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
})(jQuery);
