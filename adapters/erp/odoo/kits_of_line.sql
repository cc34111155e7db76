with recursive up(product) as (
  select p.id
    from mrp_bom_line l
    join mrp_bom b on b.id = l.bom_id
    join product_product p on p.product_tmpl_id = b.product_tmpl_id
   where l.id = any($1)
{{>above.sql}}