select l.sale from sale_line l where l.product = any($1) and l.type = 'line'
{{#kits}}
 union
select l.sale from sale_line_component c join sale_line l on l.id = c.line where c.product = any($1)
{{/kits}}
